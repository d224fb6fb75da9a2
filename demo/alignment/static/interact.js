// What a person does with a map: point at it, select, search, pick a colour, play the move between two layouts.
// Names come from users' files: they only ever become textContent, and pictures are data URIs.
const PLAY_MILLISECONDS = 2000, TYPING_MILLISECONDS = 150;

function makeElement(tag, text, properties) {
  return Object.assign(document.createElement(tag), {textContent: text}, properties);
}

class MapControls {
  pictures = []; // data URIs of the photos
  #pointer = [0, 0];
  #typing = 0;

  constructor(root, drawing, notify) {
    const part = (name) => root.querySelector('.map-' + name);
    Object.assign(this, {root, drawing, notify, plot: part('plot'), tip: part('tip'), search: part('search')});
    Object.assign(this, {legend: part('legend'), note: part('note'), names: part('names'), status: part('status')});
    Object.assign(this, {tween: part('tween'), slider: part('slider')});
    root.addEventListener('pointermove', (event) => {
      const box = root.getBoundingClientRect();
      this.#pointer = [event.clientX - box.left, event.clientY - box.top];
    });
    this.plot.addEventListener('pointerleave', () => (this.tip.hidden = true));
    this.search.oninput = () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.drawing.about && this.find(), TYPING_MILLISECONDS);
    };
    this.slider.oninput = () => this.move(Number(this.slider.value));
    part('play').onclick = () => this.play();
  }

  // Plotly's events, to be listened to again whenever it has started anew.
  listen() {
    const {plot, notify} = this;
    plot.on('plotly_hover', (event) => this.showTip(event.points[0]));
    plot.on('plotly_unhover', () => (this.tip.hidden = true));
    plot.on('plotly_click', ({points: [point]}) => {
      notify('pick', {panel: point.data.meta.panel, index: Number(point.customdata)});
    });
    plot.on('plotly_selected', (event) => {
      if (!event || !event.points) return;
      const panel = event.points.length ? event.points[0].data.meta.panel : 0;
      notify('choose', {panel, indices: [...new Set(event.points.map((point) => Number(point.customdata)))]});
    });
    plot.on('plotly_deselect', () => notify('choose', {panel: 0, indices: []}));
  }

  // Everything around a map that was just loaded, then the map.
  refresh() {
    const {about, position} = this.drawing;
    this.tip.hidden = true;
    this.tween.hidden = !about.moved;
    this.slider.value = position;
    this.note.textContent = about.note;
    this.names.replaceChildren(...about.categories.map((value) => makeElement('option', '', {value})));
    this.legend.replaceChildren(...about.labels.map((label, value) => this.#legendButton(label, value)));
    return this.find();
  }

  #legendButton(label, value) {
    const button = makeElement('button', label, {type: 'button'});
    button.style.setProperty('--colour', this.drawing.about.colours[value]);
    button.onclick = () => {
      const isPressed = this.drawing.highlight?.label === label;
      this.search.value = this.status.textContent = '';
      this.highlight(isPressed ? null : {label, includes: (_, colour) => colour === value});
    };
    return button;
  }

  highlight(choice) {
    this.drawing.highlight = choice;
    this.legend.querySelectorAll('button').forEach((button) => {
      button.setAttribute('aria-pressed', String(choice?.label === button.textContent));
    });
    return this.drawing.draw();
  }

  // Highlight the categories that the search names: the one of exactly that name, else all that contain it.
  find() {
    const {categories, points} = this.drawing.about, wanted = this.search.value.trim().toLowerCase();
    if (!wanted) {
      this.status.textContent = '';
      return this.highlight(null);
    }
    const names = categories.map((name) => name.toLowerCase()), isExact = names.includes(wanted);
    const found = names.map((name) => (isExact ? name === wanted : name.includes(wanted)));
    this.status.textContent = `${found.filter(Boolean).length} of ${found.length} categories`;
    return this.highlight({includes: (index) => Boolean(found[points.category[index]])});
  }

  showTip(point) {
    const {about} = this.drawing, index = Number(point.customdata);
    const isPlaced = index >= about.points.photo.length, row = isPlaced ? -1 : about.points.photo[index];
    const category = isPlaced ? -1 : about.points.category[index];
    const source = isPlaced ? about.placed : this.pictures[row];
    const picture = source?.startsWith('data:image/') ? [makeElement('img', '', {src: source, alt: ''})] : [];
    this.tip.replaceChildren(
      ...picture,
      makeElement('strong', isPlaced ? 'your photo' : about.categories[category] || 'no label'),
      makeElement('span', row >= 0 ? about.photos[row] : isPlaced ? '' : about.kinds[point.data.meta.kind]),
    );
    this.tip.hidden = false;
    const [x, y] = this.#pointer, {offsetWidth: width, offsetHeight: height, style} = this.tip;
    style.left = Math.max(0, x + 14 + width > this.root.clientWidth ? x - width - 14 : x + 14) + 'px';
    style.top = Math.max(0, y - height / 2) + 'px';
  }

  // Go to a position between two layouts.
  move(position) {
    this.drawing.position = this.slider.value = position;
    return this.drawing.draw();
  }

  async play() {
    const from = this.drawing.position, to = from < 0.5 ? 1 : 0, start = performance.now();
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) return this.move(to);
    while (this.drawing.position !== to && this.root.isConnected) {
      const share = Math.min(1, (performance.now() - start) / PLAY_MILLISECONDS);
      await this.move(from + (to - from) * share * share * (3 - 2 * share));
      await new Promise(requestAnimationFrame);
    }
  }
}
