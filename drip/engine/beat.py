"""One beat: planning and handing over, until nothing is due any more. The daemon's and the simulator's."""

from __future__ import annotations

from drip.engine.book import Book
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Doorkeeper
from drip.engine.planner import has_news, is_due, plan
from drip.engine.tally import Tally

# A message can be given back and judged again at one instant, and a run can send several in a row.
MOST_ROUNDS = 100


def beat(book: Book, doorkeeper: Doorkeeper, dispatcher: Dispatcher) -> Tally:
    """Does all that is due by the dispatcher's clock. Ends early if nothing can leave, or when told to stop."""
    total = Tally()
    for _ in range(MOST_ROUNDS):
        plan(
            dispatcher.database,
            book,
            dispatcher.templates,
            doorkeeper,
            dispatcher.clock(),
        )
        tally = dispatcher.dispatch(book)
        total.add(tally)
        # By one channel nothing may leave while another one has much to do.
        if dispatcher.stop() or (total.trouble and not tally.more):
            break
        if tally.more:
            continue
        # What a step did (a tag, points, a date) can bring somebody in at this very moment.
        if book.acts() and has_news(dispatcher.database, book):
            continue
        if not tally.moved or not is_due(dispatcher.database, dispatcher.clock()):
            break
    return total
