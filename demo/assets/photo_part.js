// The card's photo: a part of it is chosen by mouse, finger or keys, and sent to be identified. Run by Gradio for the
// component `element`, whose content is replaced with every card; `trigger` sends its events.
(() => {
  const STEP = 0.02, SMALLEST = 0.06, START = [0.25, 0.25, 0.5, 0.5]; // shares of the photo
  const TAP = 8; // pixels of the screen: a shorter drag is none
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  let drag = null; // the pointer that draws, where it began, and how

  const find = (selector) => element.querySelector(selector);
  const within = (value, low, high) => Math.min(Math.max(value, low), high);
  const choosing = () => find(".choice:not([hidden])");

  // A box is left, top, width, height as shares of the photo; the picture keeps the one that is being chosen.
  function boxOf(kind) {
    const edge = find(`rect.${kind}`), { width, height } = find("svg.boxes").viewBox.baseVal;
    if (!edge || !edge.width.baseVal.value) return null;
    const [x, y, w, h] = ["x", "y", "width", "height"].map((side) => edge[side].baseVal.value);
    return [x / width, y / height, w / width, h / height];
  }

  function draw([left, top, width, height]) {
    const photo = find("svg.boxes").viewBox.baseVal;
    for (const edge of element.querySelectorAll("rect.draft")) {
      edge.setAttribute("x", left * photo.width);
      edge.setAttribute("y", top * photo.height);
      edge.setAttribute("width", width * photo.width);
      edge.setAttribute("height", height * photo.height);
    }
    if (!choosing()) return;
    const [l, t, w, h] = [left, top, width, height].map((share) => `${Math.round(100 * share)} %`);
    find(".tools [role=status]").textContent = `Box: left ${l}, top ${t}, width ${w}, height ${h}.`;
  }

  function send(crop) {
    trigger("part", { photo: find(".tools").dataset.photo, crop });
    const sender = document.activeElement;
    if (!element.contains(sender)) return;
    const watch = new MutationObserver(() => { // the card is replaced: its tools get the focus back
      if (document.activeElement !== document.body && document.activeElement !== sender) watch.disconnect();
      else if (!sender.isConnected && find(".tools")) {
        watch.disconnect();
        find(".tools button:not([hidden])").focus();
      }
    });
    watch.observe(element, { childList: true, subtree: true });
  }

  // Rounded to whole ten thousandths, and never beyond the photo.
  function take() {
    const [left, top, width, height] = boxOf("draft").map((share) => Math.round(share * 1e4));
    send([left, top, Math.min(width, 1e4 - left), Math.min(height, 1e4 - top)].map((share) => share / 1e4).join(","));
  }

  function choose(on) {
    find(".choice").hidden = find("#part-keys").hidden = !on;
    for (const button of element.querySelectorAll(".tools [data-do]")) {
      button.hidden = on === (button.dataset.do === "choose");
    }
    if (on) {
      draw(boxOf("named") ?? START);
      find(".choice").focus();
    } else {
      draw([0, 0, 0, 0]);
      find(".tools [data-do=choose]").focus();
    }
  }

  element.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.crop) send(button.dataset.crop);
    else if (button?.dataset.do === "take") take();
    else if (button?.dataset.do) choose(button.dataset.do === "choose");
  });

  element.addEventListener("keydown", (event) => {
    if (!event.target.closest(".choice")) return;
    const [left, top, width, height] = boxOf("draft"), [right, down] = ARROWS[event.key] ?? [0, 0];
    if (event.key === "Enter") take();
    else if (event.key === "Escape") choose(false);
    else if (!ARROWS[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
    else if (event.shiftKey) {
      draw([
        left,
        top,
        within(width + right * STEP, Math.min(SMALLEST, width), 1 - left),
        within(height + down * STEP, Math.min(SMALLEST, height), 1 - top),
      ]);
    } else {
      draw([within(left + right * STEP, 0, 1 - width), within(top + down * STEP, 0, 1 - height), width, height]);
    }
    event.preventDefault();
  });

  function placeOf(event) {
    const picture = find("svg.boxes"), { width, height } = picture.viewBox.baseVal;
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    return [within(place.x / width, 0, 1), within(place.y / height, 0, 1)];
  }

  element.addEventListener("pointerdown", (event) => {
    const picture = event.target.closest("svg.boxes");
    if (!picture || !find(".tools") || !event.isPrimary || event.button) return;
    if (event.pointerType !== "mouse" && !choosing()) return; // a finger scrolls the page
    event.preventDefault();
    picture.setPointerCapture(event.pointerId);
    drag = { id: event.pointerId, picture, from: placeOf(event), start: [event.clientX, event.clientY], far: false };
  });

  element.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drag?.id || !drag.picture.isConnected) return;
    const [x, y] = placeOf(event), [left, top] = drag.from;
    drag.far = Math.abs(event.clientX - drag.start[0]) >= TAP && Math.abs(event.clientY - drag.start[1]) >= TAP;
    draw([Math.min(x, left), Math.min(y, top), Math.abs(x - left), Math.abs(y - top)]);
  });

  function ended(event) {
    if (event.pointerId !== drag?.id) return;
    const { far, from: [x, y], picture } = drag;
    drag = null;
    if (!picture.isConnected) return; // another card is shown
    if (far && event.type === "pointerup") return take();
    if (!choosing()) return draw([0, 0, 0, 0]);
    const [, , width, height] = boxOf("named") ?? START; // a tap: the box goes there
    draw([within(x - width / 2, 0, 1 - width), within(y - height / 2, 0, 1 - height), width, height]);
  }
  element.addEventListener("pointerup", ended);
  element.addEventListener("pointercancel", ended);
})();
