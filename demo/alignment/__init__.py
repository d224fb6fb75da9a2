"""The map of the Alignment tab: request, figure, viewer, photos, export."""
