"""The Gradio page: its tabs and the parts they share."""
