"""The sort buttons of a page's tables: what pressing them gives, and whether a column is in order."""

# What a column is: its state, its values, its texts, and how many columns of the table have a state.
COLUMN = """
const header = arguments[0].closest("th");
const column = [...header.parentNode.children].indexOf(header);
const rows = [...header.closest("table").tBodies[0].rows];
return [header.getAttribute("aria-sort"), rows.map((row) => row.children[column].dataset.value),
        rows.map((row) => row.children[column].textContent.trim()),
        [...header.parentNode.children].filter((one) => one.getAttribute("aria-sort") !== "none").length];
"""
# All buttons of a table, some times each, where a mouse would be: to draw the page after each takes a minute.
PRESS_ALL = f"""
const column = function () {{ {COLUMN} }};
return [...arguments[0].querySelectorAll("button.sort")].map((button) => {{
  button.scrollIntoView({{block: "center", inline: "center"}});
  const box = button.getBoundingClientRect();
  const over = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  const seen = [column(button)];
  for (let time = 0; time < arguments[1]; time++) {{
    over.click();
    seen.push(column(button));
  }}
  return [button.contains(over), ...seen];
}});
"""


def in_order(values, descending):
    """Numbers or words in their order, and what has no value at the end."""
    there = [value for value in values if value != ""]
    assert values == there + [""] * (len(values) - len(there)), "what has no value comes last"
    try:
        keys = [float(value) for value in there]
    except ValueError:
        return True if len(set(there)) < 2 else sorted(there, reverse=descending) == there
    return sorted(keys, reverse=descending) == keys


def assert_sorted(before, once, twice):
    """What a column is before its button is pressed, and after each time."""
    assert (once[0], once[3], twice[0]) == ("ascending", 1, "descending")
    assert in_order(once[1], descending=False), once[1]
    assert in_order(twice[1], descending=True), twice[1]
    assert sorted(before[2]) == sorted(once[2]) == sorted(twice[2]), "a cell was lost"
