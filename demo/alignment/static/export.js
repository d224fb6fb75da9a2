// A map as a picture on white, of vector traces: one per label and kind, with a legend.
const MAX_LEGEND_LABELS = 30, MIN_EXPORT_WIDTH = 900;

// Plotly reads tags in a legend.
const escaped = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

class MapExport {
  constructor(drawing, status) {
    Object.assign(this, {drawing, status});
  }

  figure() {
    const {drawing} = this, layout = drawing.styledLayout('light'), shown = drawing.plot._fullLayout;
    const legend = {itemsizing: 'constant', font: {size: 10}};
    Object.assign(layout, {paper_bgcolor: 'white', plot_bgcolor: 'white', showlegend: true, legend});
    for (const [name, part] of Object.entries(layout)) {
      if (isFlatAxis(name)) part.range = shown[name].range.slice();
      if (isScene(name)) part.camera = shown[name].camera;
    }
    const listed = new Set(); // the labels that are in the legend already
    const traces = drawing.traces.flatMap((trace, number) => this.#byColour(trace, number, listed));
    layout.height = Math.max(layout.height, 80 + 20 * (listed.size + 3)); // the legend's lines
    layout.width = Math.max(MIN_EXPORT_WIDTH, layout.width);
    return {data: [...traces, ...this.#symbolKeys()], layout};
  }

  // A trace cut into one per colour. The colour is a string where the whole trace has one.
  #byColour(trace, number, listed) {
    const {color: colours, colorscale, cmin, cmax, showscale, ...marker} = trace.marker;
    const isPlain = typeof colours === 'string', {about, axes, isFlat} = this.drawing;
    const places = this.drawing.coordinates(trace, number);
    const values = isPlain ? [colours] : [...new Set(colours)].sort((a, b) => a - b);
    return values.map((value) => {
      const rows = [...trace.customdata.keys()].filter((i) => isPlain || colours[i] === value);
      const label = isPlain ? trace.name : about.labels[value] || '';
      const isListed = Boolean(label) && about.labels.length <= MAX_LEGEND_LABELS && !listed.has(label);
      if (isListed) listed.add(label);
      return {
        ...trace,
        type: isFlat ? 'scatter' : 'scatter3d',
        ...Object.fromEntries(axes.map((name, axis) => [name, rows.map((i) => places[axis][i])])),
        customdata: undefined,
        name: escaped(label || trace.name),
        legendgroup: label,
        showlegend: isListed,
        marker: {...marker, color: isPlain ? value : about.colours[value] || '#8c8c8c'},
      };
    });
  }

  // Empty traces that explain the symbols in the legend.
  #symbolKeys() {
    const {axes, isFlat, traces} = this.drawing;
    const nowhere = Object.fromEntries(axes.map((name) => [name, [null]]));
    return traces
      .filter(({meta}) => meta.panel === 0 && meta.kind !== 'your photo')
      .map(({name, marker: {symbol}}) => ({
        type: isFlat ? 'scatter' : 'scatter3d', mode: 'markers', name, ...nowhere, marker: {symbol, size: 8, color: '#555'},
      }));
  }

  async save(format) {
    if (!this.drawing.about) return;
    this.status.textContent = `Exporting the ${format.toUpperCase()} ...`;
    await new Promise((done) => setTimeout(done));
    const figure = this.figure(), {width, height} = figure.layout;
    const options = {format, scale: format === 'png' ? 3 : 1, width, height, filename: this.drawing.about.file};
    await Plotly.downloadImage(figure, options);
    const isVector = this.drawing.isFlat || format === 'png';
    this.status.textContent = isVector ? '' : 'The SVG of a 3-D map contains a bitmap.';
  }
}
