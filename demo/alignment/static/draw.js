// Draws the maps that `demo/alignment/figure.py` describes.
const FADED = -2; // the colour of points that are not highlighted
const NARROW = 700; // width in pixels below which maps are stacked
const INK = {light: '#1f2937', dark: '#e5e7eb'}, LINE = {light: '#e5e7eb', dark: '#374151'};
const CLEAR = 'rgba(0,0,0,0)';
const CONFIG = {scrollZoom: true, displaylogo: false, responsive: false, modeBarButtonsToRemove: ['toImage']};
const ARRAYS = {f4: Float32Array, f8: Float64Array, i4: Int32Array, i2: Int16Array, i1: Int8Array, u1: Uint8Array};

const isFlatAxis = (name) => /^[xy]axis\d*$/.test(name);
const isScene = (name) => /^scene\d*$/.test(name);

// The typed array of Plotly's base64 form; anything else stays as it is.
function decoded(spec) {
  if (!spec || !spec.bdata) return spec;
  const bytes = Uint8Array.from(atob(spec.bdata), (letter) => letter.charCodeAt(0));
  return new ARRAYS[spec.dtype](bytes.buffer);
}

function decodedTrace(trace) {
  const arrays = ['x', 'y', 'z', 'customdata'].filter((name) => name in trace);
  return {
    ...trace,
    ...Object.fromEntries(arrays.map((name) => [name, decoded(trace[name])])),
    marker: {...trace.marker, color: decoded(trace.marker.color)},
  };
}

class MapDrawing {
  traces = [];
  layout = null;
  about = null; // what is known of the points: categories, file names, labels, colours
  position = 0; // between the layouts of a map that moves, 0 to 1
  highlight = null; // {label, includes(index, colour)}: the points that are not faded
  #shape = ''; // Plotly starts anew when this changes

  // `listen` is called whenever Plotly has started anew: its event handlers are gone then.
  constructor(plot, listen) {
    Object.assign(this, {plot, listen});
  }

  load({figure, about}) {
    if (this.layout?.uirevision !== figure.layout.uirevision) this.position = 0;
    Object.assign(this, {traces: figure.data.map(decodedTrace), layout: figure.layout, about});
  }

  get isFlat() {
    return this.traces[0].type !== 'scatter3d';
  }

  get axes() {
    return this.isFlat ? ['x', 'y'] : ['x', 'y', 'z'];
  }

  // The coordinates of a trace by axis, at the present position between two layouts.
  coordinates(trace, number) {
    const {moved} = this.about;
    return this.axes.map((name, axis) => {
      const from = trace[name], to = moved && moved[number][axis];
      return to && this.position > 0 ? Float32Array.from(from, (value, i) => value + this.position * (to[i] - value)) : from;
    });
  }

  draw() {
    if (!this.about || !this.plot.clientWidth) return Promise.resolve();
    const traces = this.traces.map((trace, number) => this.#drawn(trace, number));
    const shape = this.traces[0].type + this.layout.annotations?.length;
    const isNew = this.#shape !== shape;
    if (this.#shape && isNew) Plotly.purge(this.plot);
    this.#shape = shape;
    const theme = document.body.classList.contains('dark') ? 'dark' : 'light';
    return Plotly.react(this.plot, traces, this.styledLayout(theme), CONFIG).then(() => isNew && this.listen());
  }

  #drawn(trace, number) {
    const {marker} = trace, color = this.#colours(trace);
    const places = this.coordinates(trace, number);
    return {
      ...trace,
      ...Object.fromEntries(this.axes.map((name, axis) => [name, places[axis]])),
      marker: {...marker, color, line: this.#outline(marker, color)},
    };
  }

  #colours({customdata, marker: {color}}) {
    if (!this.highlight || typeof color === 'string') return color;
    return color.map((value, i) => (this.highlight.includes(customdata[i], value) ? value : FADED));
  }

  #outline({line}, colours) {
    if (!this.highlight || typeof colours === 'string' || !this.isFlat || !line.width) return line;
    return {...line, width: Array.from(colours, (colour) => (colour === FADED ? 0 : line.width))};
  }

  // The layout for the width of the page and a colour theme.
  styledLayout(theme) {
    const layout = structuredClone(this.layout), panels = Math.max(1, layout.annotations?.length || 0);
    const width = this.plot.clientWidth, isStacked = width < NARROW && panels > 1;
    Object.assign(layout, {
      width,
      height: isStacked ? panels * Math.min(width, 380) : Math.max(360, Math.min(600, width / Math.sqrt(panels))),
      paper_bgcolor: CLEAR,
      plot_bgcolor: CLEAR,
      modebar: {bgcolor: CLEAR, color: '#9ca3af', activecolor: INK[theme]},
      font: {color: INK[theme], family: 'system-ui, sans-serif'},
    });
    for (const [name, part] of Object.entries(layout)) {
      if (isFlatAxis(name)) part.gridcolor = LINE[theme];
      if (isScene(name)) {
        for (const axis of ['xaxis', 'yaxis', 'zaxis']) {
          Object.assign(part[axis], {gridcolor: LINE[theme], backgroundcolor: CLEAR});
        }
      }
      if (isStacked) stack(name, part, panels);
    }
    return layout;
  }
}

// Move one part of a layout to where it belongs when the panels are stacked.
function stack(name, part, panels) {
  const row = Number(name.match(/^(?:[xy]axis|scene)(\d*)$/)?.[1] || 1) - 1;
  const top = 1 - row / panels, slice = [top - 1 / panels, top - 0.05];
  if (/^xaxis/.test(name)) part.domain = [0, 1];
  if (/^yaxis/.test(name)) part.domain = slice;
  if (isScene(name)) part.domain = {x: [0, 1], y: slice};
  if (name === 'annotations') part.forEach((title, i) => Object.assign(title, {x: 0.5, y: 1 - i / panels - 0.05}));
}
