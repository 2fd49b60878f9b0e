"""Groups of boxes: made, changed, filled and removed.

`create_box_group`, `list_box_groups`, `get_box_group`, `update_box_group`, `delete_box_group`, `add_group_box`,
`remove_group_box`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from support.accounts import People
from support.envelopes import Refusals
from support.fleet import NOWHERE, Fleet


def id_of(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]


def test_a_group_is_made_with_boxes_in_it(fleet: Fleet) -> None:
    """Each counts once, however often it is named."""
    box = id_of(fleet.box())
    body = {"name": "Power benches", "slug": "power", "description": "Left", "boxIds": [box, box]}
    answer = fleet.owner.post(f"{fleet.path}/box-groups", json=body)
    group = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{fleet.path}/box-groups/{group['id']}"
    assert (group["name"], group["slug"], group["description"], group["boxCount"]) == (
        "Power benches",
        "power",
        "Left",
        1,
    )
    assert fleet.owner.get(f"{fleet.path}/box-groups/{group['id']}").json() == group
    assert fleet.owner.get(f"{fleet.path}/box-groups").json()["items"] == [group]


def test_slugs_are_unique_in_an_org(fleet: Fleet, people: People, refused: Refusals) -> None:
    """The clash names the field; another org may have the same."""
    power, radio = fleet.group("power"), fleet.group("radio")
    body = refused(fleet.owner.post(f"{fleet.path}/box-groups", json={"name": "P", "slug": "power"}), 409)
    assert body["field"] == "slug"
    assert "slug" in body["message"]
    assert refused(fleet.owner.patch(radio, json={"slug": "power"}), 409)["field"] == "slug"
    assert fleet.owner.patch(power, json={"slug": "power"}).status_code == 200
    Fleet(people, "umbrella").group("power")


@pytest.mark.parametrize("slug", ["", "Power", "power_benches", "-power", "power-", "a--b", "a" * 65])
def test_a_slug_is_lower_case_words(fleet: Fleet, refused: Refusals, slug: str) -> None:
    """It stands in addresses."""
    refused(fleet.owner.post(f"{fleet.path}/box-groups", json={"name": "Power", "slug": slug}), 400)


def test_a_group_is_changed_field_by_field(fleet: Fleet, refused: Refusals) -> None:
    """`boxIds` is the whole set; a box that does not exist changes nothing."""
    first, second = (id_of(fleet.box(name)) for name in ("bench-1", "bench-2"))
    group = fleet.group(boxIds=[first], description="Left")
    seen = fleet.owner.patch(group, json={"name": "Radio", "boxIds": [second]}).json()
    assert (seen["name"], seen["slug"], seen["description"], seen["boxCount"]) == ("Radio", "power", "Left", 1)
    assert fleet.owner.get(f"{fleet.path}/boxes/{second}").json()["groupIds"] == [id_of(group)]
    assert fleet.owner.get(f"{fleet.path}/boxes/{first}").json()["groupIds"] == []
    body = {"name": "Lost", "boxIds": [first, NOWHERE]}
    assert refused(fleet.owner.patch(group, json=body), 404)["message"] == "Box not found"
    assert fleet.owner.get(group).json()["name"] == "Radio"
    assert "description" not in fleet.owner.patch(group, json={"description": None, "boxIds": []}).json()
    assert fleet.owner.get(group).json()["boxCount"] == 0


def test_boxes_come_and_go_one_by_one(fleet: Fleet, refused: Refusals) -> None:
    """A box is in a group once, whoever puts it in at the same moment."""
    group, box = fleet.group(), id_of(fleet.box())
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: fleet.owner.post(f"{group}/boxes", json={"boxId": box}), range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {answer.json()["boxCount"] for answer in answers if answer.status_code == 201} == {1}
    assert fleet.owner.delete(f"{group}/boxes/{box}").status_code == 204
    refused(fleet.owner.delete(f"{group}/boxes/{box}"), 404)
    refused(fleet.owner.post(f"{group}/boxes", json={"boxId": NOWHERE}), 404)
    assert fleet.owner.get(group).json()["boxCount"] == 0


def test_boxes_outlive_their_group(fleet: Fleet, refused: Refusals) -> None:
    """What is left is the box without the group."""
    group = fleet.group()
    box = fleet.box(groupIds=[id_of(group)])
    assert fleet.owner.delete(group).status_code == 204
    assert fleet.owner.get(box).json()["groupIds"] == []
    assert refused(fleet.owner.get(group), 404)["message"] == "Box group not found"
    refused(fleet.owner.delete(group), 404)


def test_a_removed_group_grants_nothing_any_more(fleet: Fleet, refused: Refusals) -> None:
    """Its grants went with it."""
    bob, group = fleet.join("bob@acme.example"), fleet.group()
    box = fleet.box(groupIds=[id_of(group)])
    fleet.owner.post(f"{group}/access", json={"userId": fleet.ids["bob@acme.example"]})
    assert bob.get(box).status_code == 200
    fleet.owner.delete(group)
    refused(bob.get(box), 403)


def test_members_look_at_groups_and_leave_them_alone(fleet: Fleet, refused: Refusals) -> None:
    """Only owners and admins arrange boxes."""
    bob, group, box = fleet.join("bob@acme.example"), fleet.group(), id_of(fleet.box())
    assert bob.get(group).json()["slug"] == "power"
    assert bob.get(f"{fleet.path}/box-groups").json()["total"] == 1
    refused(bob.post(f"{fleet.path}/box-groups", json={"name": "Mine", "slug": "mine"}), 403)
    refused(bob.patch(group, json={"name": "Mine"}), 403)
    refused(bob.delete(group), 403)
    refused(bob.post(f"{group}/boxes", json={"boxId": box}), 403)
    refused(bob.delete(f"{group}/boxes/{box}"), 403)


def test_another_orgs_groups_and_boxes_are_none(fleet: Fleet, people: People, refused: Refusals) -> None:
    """Neither by the group's id nor by the box's."""
    other = Fleet(people, "umbrella")
    theirs, group = id_of(other.group()), fleet.group()
    for path in (f"{fleet.path}/box-groups/{theirs}", f"{fleet.path}/box-groups/{theirs}/access"):
        assert refused(fleet.owner.get(path), 404)["message"] == "Box group not found"
    foreign = id_of(other.box())
    assert refused(fleet.owner.post(f"{group}/boxes", json={"boxId": foreign}), 404)["message"] == "Box not found"
