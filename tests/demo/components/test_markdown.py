import pytest

from demo.components.markdown import markdown_text


def test_markdown_shows_the_text_of_others_as_it_is():
    assert (
        markdown_text("a ![x](http://h/t.png) __b__\n# c <b>") == r"a \!\[x\]\(http://h/t\.png\) \_\_b\_\_ # c &lt;b&gt;"
    )


@pytest.mark.parametrize("text", ["finedefics tiny", "5 %"])
def test_plain_text_stays(text):
    assert markdown_text(text) == text
