// A map inside `root`. `notify` is called with the events "pick" and "choose" and their data.
function mapView(root, notify) {
  const part = (name) => root.querySelector('.map-' + name), plot = part('plot');
  const drawing = new MapDrawing(plot, () => controls.listen());
  const controls = new MapControls(root, drawing, notify);
  const files = new MapExport(drawing, part('status'));
  part('png').onclick = () => files.save('png');
  part('svg').onclick = () => files.save('svg');
  let width = 0;
  new ResizeObserver(() => {
    if (plot.clientWidth && plot.clientWidth !== width) {
      width = plot.clientWidth;
      drawing.draw();
    }
  }).observe(root);
  new MutationObserver(() => drawing.draw()).observe(document.body, {attributes: true, attributeFilter: ['class']});
  return {
    show(text) {
      if (!text) return;
      drawing.load(JSON.parse(text));
      controls.refresh();
    },
    pictures(text) {
      controls.pictures = text ? JSON.parse(text) : [];
    },
  };
}
