// The Identify tab: several photos that are dropped, photos that are pasted, and the card as text or picture.
(() => {
  const NOT_XML = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g; // what a model may write and a picture must not hold
  const PICTURE_WIDTH = 760, SCALE = 2; // pixels of the card, and of the picture for each of them

  function give(files) {
    const place = files.length > 1 ? "#identify-buttons" : "#photo";
    const input = document.querySelector(`${place} input[type=file]`);
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  const isOver = (event) => event.target.closest?.("#identify-tab") && event.dataTransfer?.types.includes("Files");

  document.addEventListener("dragover", (event) => {
    if (isOver(event)) event.preventDefault(); // else the browser opens the photo in place of the page
  });

  document.addEventListener("drop", (event) => {
    if (!isOver(event) || !event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    give(event.dataTransfer.files);
  }, true);

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (!files.length || !document.querySelector("#photo")?.offsetParent) return;
    event.preventDefault();
    give(files);
  });

  const card = () => document.querySelector("#card .card");

  async function copy() {
    const text = card().dataset.text;
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.body.appendChild(document.createElement("textarea")); // a page without TLS has no clipboard
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  async function picture() {
    const style = document.getElementById("card-style").textContent;
    const holder = document.body.appendChild(document.createElement("div"));
    holder.className = document.body.classList.contains("dark") ? "picture dark" : "picture";
    holder.style.cssText = `position: absolute; left: -9999px; width: ${PICTURE_WIDTH}px`;
    holder.append(card().cloneNode(true));
    const height = Math.ceil(holder.getBoundingClientRect().height);
    holder.style.cssText = "";
    const body = new XMLSerializer().serializeToString(holder).replace(NOT_XML, "");
    holder.remove();
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${PICTURE_WIDTH}" height="${height}">` +
      `<foreignObject width="100%" height="100%"><div xmlns="http://www.w3.org/1999/xhtml"><style>` +
      `<![CDATA[* { box-sizing: border-box } ${style}]]></style>${body}</div></foreignObject></svg>`;
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [PICTURE_WIDTH * SCALE, height * SCALE];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    const link = document.createElement("a");
    link.href = canvas.toDataURL("image/png");
    link.download = "identification.png";
    link.click();
  }

  // What Gradio leaves out for screen readers: changes of the status are read aloud, and examples have names.
  function label() {
    document.querySelector("#status").setAttribute("role", "status");
    document.querySelectorAll("#examples button").forEach((button, index) => {
      button.setAttribute("aria-label", `Example ${index + 1}`);
    });
  }

  window.finedefics = { copy, label, picture };
})();
