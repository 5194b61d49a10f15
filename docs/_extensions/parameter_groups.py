"""Headings in a class's list of parameters, one for each group that its docstring names.

A docstring names groups by a bullet list before its parameters; each item is a title in bold type, and the group's
parameters as literals.
"""

from docutils import nodes


def setup(app):
    """Connect this to Sphinx."""
    app.connect("object-description-transform", head_groups)
    return {"parallel_read_safe": True}


def head_groups(app, domain, objtype, content):
    """Put a group's title before the first of its parameters."""
    titles = titles_by_first_parameter(content)
    for item in list(content.findall(nodes.definition_list_item)):
        name = next(iter(item.findall(nodes.strong)), nodes.strong()).astext()
        if item.parent.parent.parent[0].astext() == "Parameters" and name in titles:
            heading = nodes.definition_list_item("", nodes.term("", titles[name], classes=["parameter-group"]))
            item.parent.insert(item.parent.index(item), heading)


def titles_by_first_parameter(content):
    """Return the titles of the groups that a docstring names."""
    items = [item for bullets in content.children if isinstance(bullets, nodes.bullet_list) for item in bullets]
    named = [(next(iter(item.findall(nodes.strong)), None), list(item.findall(nodes.literal))) for item in items]
    return {parameters[0].astext(): title.astext() for title, parameters in named if title is not None and parameters}
