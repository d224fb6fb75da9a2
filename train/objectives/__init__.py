"""The losses of the method and the models that they train."""
