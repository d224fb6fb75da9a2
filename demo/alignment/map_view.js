// A map in a page: draws what `demo/map_figure.py` says, and tells `notify` what a person does with it.
// Names come from users' files: they only ever become textContent, and pictures are data URIs.
function mapView(root, notify) {
  const part = (name) => root.querySelector('.map-' + name);
  const plot = part('plot'), tip = part('tip'), search = part('search'), legend = part('legend');
  const tween = part('tween'), slider = part('slider'), status = part('status');
  const NARROW = 700, LISTED = 30, FADED = -2;
  const ARRAYS = {f4: Float32Array, f8: Float64Array, i4: Int32Array, i2: Int16Array, i1: Int8Array, u1: Uint8Array};
  const CONFIG = {scrollZoom: true, displaylogo: false, responsive: false, modeBarButtonsToRemove: ['toImage']};
  const INK = {light: '#1f2937', dark: '#e5e7eb'}, LINE = {light: '#e5e7eb', dark: '#374151'};
  let traces = [], layout = null, about = null, pictures = [], drawn = '', at = 0, chosen = null, pointer = [0, 0];

  const numbers = (spec) => {
    if (!spec || !spec.bdata) return spec;
    const bytes = Uint8Array.from(atob(spec.bdata), (letter) => letter.charCodeAt(0));
    return new ARRAYS[spec.dtype](bytes.buffer);
  };
  const theme = () => (document.body.classList.contains('dark') ? 'dark' : 'light');
  const flat = () => traces[0].type !== 'scatter3d';
  const axes = () => (flat() ? ['x', 'y'] : ['x', 'y', 'z']);
  const categoryOf = (index) => {
    const row = index < about.points.category.length ? about.points.category[index] : -1;
    return row < 0 ? '' : about.categories[row];
  };
  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // --- what is drawn

  function colours(trace) {
    const own = trace.marker.color;
    if (!chosen || typeof own === 'string') return own;
    const lit = Array.from(trace.customdata, (index, i) => chosen.lights(index, own[i]));
    return Int16Array.from(own, (colour, i) => (lit[i] ? colour : FADED));
  }

  function outlines(trace, colours) {
    const {line} = trace.marker;
    return chosen && flat() && line.width ? {...line, width: Array.from(colours, (colour) => (colour === FADED ? 0 : line.width))} : line;
  }

  function moved(trace, number, axis) {
    const from = trace['xyz'[axis]], to = about.moved && about.moved[number][axis];
    return to && at > 0 ? Float32Array.from(from, (value, i) => value + at * (to[i] - value)) : from;
  }

  function dressed(scheme) {
    const made = structuredClone(layout), panels = made.annotations ? Math.max(1, made.annotations.length) : 1;
    const width = plot.clientWidth, stacked = width < NARROW && panels > 1;
    made.width = width;
    made.height = stacked ? panels * Math.min(width, 380) : Math.max(360, Math.min(600, width / Math.sqrt(panels)));
    made.paper_bgcolor = made.plot_bgcolor = 'rgba(0,0,0,0)';
    made.modebar = {bgcolor: 'rgba(0,0,0,0)', color: '#9ca3af', activecolor: INK[scheme]};
    made.font = {color: INK[scheme], family: 'system-ui, sans-serif'};
    for (const name of Object.keys(made)) {
      if (/^[xy]axis\d*$/.test(name)) made[name].gridcolor = LINE[scheme];
      if (/^scene\d*$/.test(name)) {
        for (const axis of ['xaxis', 'yaxis', 'zaxis']) {
          Object.assign(made[name][axis], {gridcolor: LINE[scheme], backgroundcolor: 'rgba(0,0,0,0)'});
        }
      }
      if (stacked) stack(made, name, panels);
    }
    return made;
  }

  function stack(made, name, panels) {
    const row = Number((name.match(/^(?:yaxis|xaxis|scene)(\d*)$/) || [])[1] || 1) - 1;
    const high = 1 - row / panels, slice = [high - 1 / panels, high - 0.05];
    if (/^xaxis/.test(name)) made[name].domain = [0, 1];
    if (/^yaxis/.test(name)) made[name].domain = slice;
    if (/^scene/.test(name)) made[name].domain = {x: [0, 1], y: slice};
    if (name === 'annotations') made[name].forEach((title, i) => Object.assign(title, {x: 0.5, y: 1 - i / panels - 0.05}));
  }

  function draw() {
    if (!about || !plot.clientWidth) return Promise.resolve();
    const now = traces.map((trace, number) => {
      const color = colours(trace);
      return {
        ...trace,
        ...Object.fromEntries(axes().map((name, axis) => [name, moved(trace, number, axis)])),
        marker: {...trace.marker, color, line: typeof color === 'string' ? trace.marker.line : outlines(trace, color)},
      };
    });
    const shape = traces[0].type + layout.annotations?.length;
    if (drawn && drawn !== shape) Plotly.purge(plot);
    const fresh = drawn !== shape;
    drawn = shape;
    return Plotly.react(plot, now, dressed(theme()), CONFIG).then(() => fresh && listen());
  }

  // --- what a person does

  function listen() {
    plot.on('plotly_hover', (event) => tell(event.points[0]));
    plot.on('plotly_unhover', () => (tip.hidden = true));
    plot.on('plotly_click', (event) => {
      const {panel} = event.points[0].data.meta;
      notify('pick', {panel, index: Number(event.points[0].customdata)});
    });
    plot.on('plotly_selected', (event) => {
      if (!event || !event.points) return;
      const panel = event.points.length ? event.points[0].data.meta.panel : 0;
      notify('choose', {panel, indices: [...new Set(event.points.map((point) => Number(point.customdata)))]});
    });
    plot.on('plotly_deselect', () => notify('choose', {panel: 0, indices: []}));
  }

  function tell(point) {
    const index = Number(point.customdata), {kind} = point.data.meta;
    const placed = index >= about.points.photo.length, row = placed ? -1 : about.points.photo[index];
    const source = placed ? about.placed : pictures[row];
    tip.replaceChildren();
    if (source && source.startsWith('data:image/')) {
      const picture = document.createElement('img');
      picture.src = source;
      picture.alt = '';
      tip.append(picture);
    }
    tip.append(element('strong', placed ? 'your photo' : categoryOf(index) || 'no label'));
    tip.append(element('span', row >= 0 ? about.photos[row] : placed ? '' : about.kinds[kind]));
    tip.hidden = false;
    const [x, y] = pointer, right = x + 14 + tip.offsetWidth > root.clientWidth;
    tip.style.left = Math.max(0, right ? x - tip.offsetWidth - 14 : x + 14) + 'px';
    tip.style.top = Math.max(0, y - tip.offsetHeight / 2) + 'px';
  }

  function highlight(choice) {
    chosen = choice;
    legend.querySelectorAll('button').forEach((button) => {
      button.setAttribute('aria-pressed', String(Boolean(choice) && choice.label === button.textContent));
    });
    return draw();
  }

  function find() {
    const wanted = search.value.trim().toLowerCase();
    if (!wanted) return highlight(null);
    const exact = about.categories.some((name) => name.toLowerCase() === wanted);
    const rows = about.categories.map((name) => (exact ? name.toLowerCase() === wanted : name.toLowerCase().includes(wanted)));
    status.textContent = `${rows.filter(Boolean).length} of ${rows.length} categories`;
    return highlight({lights: (index) => Boolean(rows[about.points.category[index]])});
  }

  function list() {
    const options = about.categories.map((name) => {
      const option = document.createElement('option');
      option.value = name;
      return option;
    });
    part('names').replaceChildren(...options);
    legend.replaceChildren(
      ...about.labels.map((label, value) => {
        const button = element('button', label);
        button.type = 'button';
        button.style.setProperty('--colour', about.colours[value]);
        button.onclick = () => {
          const again = chosen && chosen.label === label;
          search.value = status.textContent = '';
          highlight(again ? null : {label, lights: (_, colour) => colour === value});
        };
        return button;
      })
    );
  }

  // --- between two layouts

  function move(to) {
    at = to;
    slider.value = to;
    return draw();
  }

  async function play() {
    const from = at, to = at < 0.5 ? 1 : 0, began = performance.now();
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) return move(to);
    while (at !== to && root.isConnected) {
      const share = Math.min(1, (performance.now() - began) / 2000);
      await move(from + (to - from) * share * share * (3 - 2 * share));
      await new Promise(requestAnimationFrame);
    }
  }

  // --- as a picture: vector traces, one per label and kind, with a legend, on white

  const inert = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;'); // Plotly reads tags in a legend

  function printed() {
    const made = dressed('light'), shown = plot._fullLayout;
    Object.assign(made, {paper_bgcolor: 'white', plot_bgcolor: 'white', showlegend: true, legend: {itemsizing: 'constant', font: {size: 10}}});
    for (const name of Object.keys(made)) {
      if (/^[xy]axis\d*$/.test(name)) made[name].range = shown[name].range.slice();
      if (/^scene\d*$/.test(name)) made[name].camera = shown[name].camera;
    }
    const seen = new Set(), out = [];
    traces.forEach((trace, number) => {
      const own = trace.marker.color, values = typeof own === 'string' ? [own] : [...new Set(own)].sort((a, b) => a - b);
      for (const value of values) {
        const rows = [...trace.customdata.keys()].filter((i) => typeof own === 'string' || own[i] === value);
        const picked = (array) => rows.map((i) => array[i]);
        const label = typeof own === 'string' ? trace.name : value < 0 ? '' : about.labels[value];
        const listed = label && about.labels.length <= LISTED && !seen.has(label);
        if (listed) seen.add(label);
        const {colorscale, cmin, cmax, showscale, ...marker} = trace.marker;
        const colour = typeof value === 'string' ? value : value < 0 ? '#8c8c8c' : about.colours[value];
        out.push({
          ...trace,
          type: flat() ? 'scatter' : 'scatter3d',
          ...Object.fromEntries(axes().map((name, axis) => [name, picked(moved(trace, number, axis))])),
          customdata: undefined,
          name: inert(label || trace.name),
          legendgroup: label,
          showlegend: Boolean(listed),
          marker: {...marker, color: colour},
        });
      }
    });
    made.height = Math.max(made.height, 80 + 20 * (seen.size + 3)); // the legend's lines
    return {data: [...out, ...keys()], layout: made};
  }

  function keys() {
    const first = traces.filter((trace) => trace.meta.panel === 0 && trace.meta.kind !== 'your photo');
    const nowhere = Object.fromEntries(axes().map((name) => [name, [null]]));
    return first.map(({type, name, marker}) => ({
      type: type === 'scatter3d' ? type : 'scatter', mode: 'markers', name, ...nowhere,
      marker: {symbol: marker.symbol, size: 8, color: '#555'},
    }));
  }

  async function save(format) {
    if (!about) return;
    status.textContent = `Making the ${format.toUpperCase()} ...`;
    await new Promise((done) => setTimeout(done));
    const figure = printed(), {height} = figure.layout;
    const width = Math.max(900, figure.layout.width);
    Object.assign(figure.layout, {width, height});
    await Plotly.downloadImage(figure, {format, scale: format === 'png' ? 3 : 1, width, height, filename: about.file});
    status.textContent = flat() || format === 'png' ? '' : 'A map in three dimensions is a picture inside the SVG.';
  }

  let typing = 0;
  search.oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(() => about && (search.value ? find() : ((status.textContent = ''), highlight(null))), 150);
  };
  root.addEventListener('pointermove', (event) => {
    const box = root.getBoundingClientRect();
    pointer = [event.clientX - box.left, event.clientY - box.top];
  });
  plot.addEventListener('pointerleave', () => (tip.hidden = true));
  slider.oninput = () => move(Number(slider.value));
  part('play').onclick = play;
  part('png').onclick = () => save('png');
  part('svg').onclick = () => save('svg');
  let width = 0;
  new ResizeObserver(() => {
    if (plot.clientWidth && plot.clientWidth !== width) {
      width = plot.clientWidth;
      draw();
    }
  }).observe(root);
  new MutationObserver(draw).observe(document.body, {attributes: true, attributeFilter: ['class']});

  return {
    show(text) {
      if (!text) return;
      const map = JSON.parse(text);
      const same = layout && layout.uirevision === map.figure.layout.uirevision;
      traces = map.figure.data.map((trace) => ({
        ...trace,
        ...Object.fromEntries(['x', 'y', 'z', 'customdata'].filter((n) => n in trace).map((n) => [n, numbers(trace[n])])),
        marker: {...trace.marker, color: numbers(trace.marker.color)},
      }));
      layout = map.figure.layout;
      about = map.about;
      tip.hidden = true;
      tween.hidden = !about.moved;
      if (!same) at = slider.value = 0;
      list();
      search.value && !search.disabled ? find() : highlight(null);
    },
    pictures(text) {
      pictures = text ? JSON.parse(text) : [];
    },
  };
}
