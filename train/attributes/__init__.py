"""Make attribute descriptions of photos with models: discovery -> extraction -> summarisation, as in the paper.

discover    a language model names the attributes that distinguish the categories of a kind of object
extract     a vision-language model reads their values off every training photo
summarise   a language model turns a photo's values into a description that does not name the category
table       the values of all photos, counted, become a knowledge table of `assets/attributes`

An interrupted step resumes where it stopped. The answers come from an endpoint with OpenAI's protocol, a model of the
zoo, or the knowledge tables: all values of the category, or those that probes find in the photo (`probes`).
"""

from train.attributes.command import add_arguments, run

__all__ = ["add_arguments", "run"]
