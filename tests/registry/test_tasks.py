"""A network is measured inside a task: its outputs map to the classes, or it is refused."""

import pytest

from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.tasks import class_map, find_task_for, get_or_create_task, get_task


def test_a_class_map_names_the_output_of_each_class():
    assert class_map(["cat", "dog", "eel"], ["eel", "cat"]) == [2, 0]
    assert class_map(["cat", "dog"], ["cat", "eel"]) is None


def test_the_same_classes_are_the_same_task(sessions):
    with sessions.begin() as session:
        first = get_or_create_task(session, "pets", ["cat", "dog"])
        assert get_or_create_task(session, "animals", ["cat", "dog"]).id == first.id
        assert get_or_create_task(session, "reversed", ["dog", "cat"]).id != first.id
        with pytest.raises(ConflictError, match="already means another list"):
            get_or_create_task(session, "pets", ["cat", "eel"])


def test_outputs_find_the_task_they_cover(sessions):
    with sessions.begin() as session:
        pets = get_or_create_task(session, "pets", ["cat", "dog"])
        assert find_task_for(session, ["cat", "dog"]) == (pets, [0, 1])
        assert find_task_for(session, ["bird", "dog", "cat"]) == (pets, [2, 1])


def test_with_no_task_the_outputs_become_one(sessions):
    with sessions.begin() as session:
        task, mapped = find_task_for(session, ["cat", "dog"])
        assert (task.classes, mapped) == (["cat", "dog"], [0, 1])


def test_another_task_is_refused_with_the_two_lists(sessions):
    with sessions.begin() as session:
        get_or_create_task(session, "pets", ["cat", "dog"])
        with pytest.raises(InvalidError, match="dog missing") as refused:
            find_task_for(session, ["cat", "eel"])
    assert refused.value.extras["classes"] == {"model": ["cat", "eel"], "task": ["cat", "dog"], "missing": ["dog"]}


def test_an_unknown_task_lists_the_known(sessions):
    with sessions.begin() as session:
        get_or_create_task(session, "pets", ["cat", "dog"])
        with pytest.raises(NotFoundError, match="Tasks: pets"):
            get_task(session, "pest")
