"""Tasks that are made when they are asked for look like a list of tasks, and are not made before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thread_cli.contracts.environment import Task
from thread_cli.environments.lazy import LazyTasks

_ends = st.none() | st.integers(-15, 15)


def made(number: int) -> Task:
    return Task(str(number), f"task {number}")


@given(st.integers(0, 9), st.integers(-12, 12), _ends, _ends, _ends.filter(lambda step: step != 0))
def test_lazy_tasks_are_taken_and_sliced_as_a_list_is(count, index, start, stop, step):
    lazy, whole = LazyTasks(range(count), made), [made(number) for number in range(count)]
    assert (len(lazy), list(lazy), list(reversed(lazy))) == (count, whole, whole[::-1])
    part = slice(start, stop, step)
    assert lazy[part] == whole[part]
    assert lazy[part][1:] == whole[part][1:]
    if -count <= index < count:
        assert lazy[index] == whole[index]
        assert lazy.index(whole[index]) == index % count
    else:
        with pytest.raises(IndexError):
            lazy[index]


def test_lazy_tasks_are_equal_where_their_tasks_are():
    lazy = LazyTasks(range(2, 5), made)
    assert lazy == LazyTasks(range(5), made)[2:]
    assert [made(2), made(3), made(4)] == lazy == (made(2), made(3), made(4))
    assert lazy != LazyTasks(range(2, 5), lambda number: Task(str(number)))
    assert lazy != LazyTasks(range(2, 6), made)
    assert lazy != "234"
    with pytest.raises(TypeError):
        hash(lazy)


def test_no_task_is_made_before_it_is_looked_at():
    looked: list[int] = []
    lazy = LazyTasks(range(10**9), lambda number: (looked.append(number), made(number))[1])
    assert len(lazy[10:]) == 10**9 - 10
    assert lazy[5:][-1].id == "999999999"
    assert looked == [999_999_999]


def test_an_error_in_the_making_is_not_taken_for_the_end():
    tasks = LazyTasks(range(3), lambda number: [made(0)][number])
    with pytest.raises(IndexError):
        list(tasks)
