"""Attribute descriptions from models: discovery -> extraction -> summarisation, as in the paper.

discover    a language model names the attributes that tell the categories of a kind of object apart
extract     a vision-language model reads their values off every training photo
summarise   a language model turns a photo's values into a description that does not name the category
table       the values of all photos, counted, become a knowledge table of `assets/attributes`

Each step continues where it was stopped. An endpoint that speaks OpenAI's protocol answers, or what is here already:
a model of the zoo, the knowledge tables.
"""

from train.attributes.command import add_arguments, run

__all__ = ["add_arguments", "run"]
