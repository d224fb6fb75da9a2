// The map as a page of its own.
const text = (id) => document.getElementById(id).textContent;
const view = mapView(document.getElementById('map'), () => {});
view.pictures(text('thumbnails'));
view.show(text('data'));
