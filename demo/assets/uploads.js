// Photos whose type the browser does not know, as most do not know HEIC, reach Gradio with the type of their suffix:
// it leaves out all others. Where the browser cannot draw a photo, a sentence stands in its place.
(() => {
  const TYPES = {
    heic: "image/heic", heif: "image/heif", hif: "image/heif", avif: "image/avif",
    tif: "image/tiff", tiff: "image/tiff", jfif: "image/jpeg",
  };
  const UNSHOWN = "Your browser cannot show this format. The photo itself is used.";
  const type = (file) => file.type || TYPES[file.name.split(".").pop().toLowerCase()] || "";
  const lacksType = (files) => [...(files ?? [])].some((file) => type(file) !== file.type);

  function give(input, files) {
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(new File([file], file.name, { type: type(file) }));
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  const isFileInput = (element) => element.matches?.("input[type=file]");

  document.addEventListener("click", (event) => {
    if (isFileInput(event.target) && event.target.accept === "image/*") event.target.accept = "image/*,.heic,.heif,.hif";
  }, true);

  document.addEventListener("change", (event) => {
    if (!isFileInput(event.target) || !lacksType(event.target.files)) return;
    event.stopImmediatePropagation();
    give(event.target, event.target.files);
  }, true);

  document.addEventListener("drop", (event) => {
    const input = event.target.closest?.(".block")?.querySelector("input[type=file]");
    if (!input || !lacksType(event.dataTransfer?.files)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    give(input, event.dataTransfer.files);
  }, true);

  const explained = (isUnshown) => (event) => {
    if (!event.target.matches?.("img[src*='/gradio_api/file=']")) return;
    event.target.alt = isUnshown ? UNSHOWN : "";
    event.target.style.padding = isUnshown ? "3rem 1rem 0" : ""; // below the label
  };
  document.addEventListener("error", explained(true), true);
  document.addEventListener("load", explained(false), true);
})();
