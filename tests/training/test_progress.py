# SPDX-License-Identifier: Apache-2.0
"""Progress over items: it never falls, and ends at its total however many steps an item took."""

from __future__ import annotations

from loopcore.training.progress import Counter


def test_items_may_take_fewer_and_more_steps_than_planned() -> None:
    told: list[tuple[int, int]] = []
    counter = Counter(3, 4, lambda *step: told.append(step))
    for steps in (1, 9, 0):
        for _ in range(steps):
            counter.step()
        counter.finish()
    assert {total for _, total in told} == {12}
    assert [done for done, _ in told] == [1, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7, 8, 12]


def test_without_a_callback_it_is_silent() -> None:
    counter = Counter(1, 2, None)
    counter.step()
    counter.finish()
