"""docs/configuration.md is what its generator writes."""

from docs.generate.configuration import PAGE, SECTIONS, page
from server.config import Section


def test_the_page_is_that_of_the_code() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: make docs"


def test_every_setting_has_a_description() -> None:
    fields = {
        f"{prefix}{name}": field
        for _, prefix, section in SECTIONS
        for name, field in section.model_fields.items()
        if not isinstance(field.default, Section)
    }

    assert [key for key, field in fields.items() if not field.description] == []
