// The map as a component of Gradio's page.
const loading = window.loadPlotly();
const view = mapView(element, trigger);
const show = () => loading.then(() => view.show(props.map));
view.pictures(props.thumbnails);
watch('map', show);
watch('thumbnails', () => view.pictures(props.thumbnails));
show();
