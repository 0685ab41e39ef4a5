"""The order in which retained values are requested: against a model, and single cases."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.core.control.last_value_requests import LastValueRequests, RetainedPage
from relay.wire.topics import Pattern, parse_pattern

USERS = ("alice", "bob", "carol")
SELECTORS = [parse_pattern(text) for text in ("live:a", "live:b", "live:*", "x:*", "*")]
A, B, LIVE, X, ALL = SELECTORS


def pages(subject: LastValueRequests, count: int) -> list[RetainedPage | None]:
    """The next pages, each of which is the last of its selector."""
    found = []
    for _ in range(count):
        page = subject.begin_page()
        found.append(page)
        if page is not None:
            subject.end_page(None)
    return found


def test_equal_ones_are_merged_and_each_is_requested_once() -> None:
    subject = LastValueRequests()
    for username in USERS:
        subject.want(LIVE, username)
    assert len(subject) == 1
    assert pages(subject, 2) == [RetainedPage(LIVE, None), None]


def test_one_page_is_under_way_at_a_time() -> None:
    subject = LastValueRequests()
    subject.want(A, "alice")
    subject.want(B, "bob")
    assert subject.begin_page() == RetainedPage(A, None)
    assert subject.begin_page() is None
    subject.end_page(None)
    assert subject.begin_page() == RetainedPage(B, None)


def test_who_wants_thousands_of_pages_delays_another_user_by_one() -> None:
    subject = LastValueRequests()
    for number in range(10_000):
        subject.want(Pattern(f"live:{number}", exact=False), "alice")
    assert subject.begin_page() is not None
    subject.want(X, "bob")
    subject.end_page(b"live:0/7")
    assert subject.begin_page() == RetainedPage(X, None)
    subject.end_page(None)
    following = subject.begin_page()
    assert following == RetainedPage(Pattern("live:0", exact=False), b"live:0/7")


def test_what_nobody_wants_any_more_is_not_requested() -> None:
    subject = LastValueRequests()
    for selector in (A, B, LIVE):
        subject.want(selector, "alice")
    subject.forget(B)
    subject.forget(X)
    assert pages(subject, 3) == [RetainedPage(A, None), RetainedPage(LIVE, None), None]


def test_the_pages_that_would_follow_die_with_their_reason() -> None:
    subject = LastValueRequests()
    subject.want(LIVE, "alice")
    assert subject.begin_page() == RetainedPage(LIVE, None)
    subject.forget(LIVE)
    subject.end_page(b"live:m")
    assert subject.begin_page() is None


def test_who_comes_back_while_a_page_is_under_way_gets_all_values_anew() -> None:
    """Values may have changed while nobody was subscribed."""
    subject = LastValueRequests()
    subject.want(LIVE, "alice")
    subject.begin_page()
    subject.forget(LIVE)
    subject.want(LIVE, "alice")
    subject.end_page(b"live:m")
    assert subject.begin_page() == RetainedPage(LIVE, None)


def test_a_page_that_is_lost_is_requested_again_before_others() -> None:
    subject = LastValueRequests()
    subject.want(LIVE, "alice")
    subject.want(X, "bob")
    subject.begin_page()
    subject.end_page(b"live:m")
    assert subject.begin_page() == RetainedPage(X, None)
    subject.lose_page()
    assert subject.begin_page() == RetainedPage(X, None)
    subject.forget(X)
    subject.lose_page()
    assert subject.begin_page() == RetainedPage(LIVE, b"live:m")


def test_a_page_that_is_lost_is_requested_before_the_others_of_its_user() -> None:
    subject = LastValueRequests()
    for selector in (A, B):
        subject.want(selector, "alice")
    subject.begin_page()
    subject.lose_page()
    assert pages(subject, 3) == [RetainedPage(A, None), RetainedPage(B, None), None]


class Requests(RuleBasedStateMachine):
    """Clients that want selectors, and a relay that answers in pages."""

    def __init__(self) -> None:
        super().__init__()
        self.subject = LastValueRequests()
        self.wanted: dict[Pattern, str] = {}
        """Selectors of clients, each with the user of the first one."""
        self.waiting: dict[Pattern, bytes | None] = {}
        """Selectors that are not answered to the end, with the place that was reached."""
        self.under_way: RetainedPage | None = None
        self.is_still_wanted = False
        self.turns: list[str] = []
        """The users whose pages were requested while others waited, since the last change."""

    @rule(selector=st.sampled_from(SELECTORS), user=st.sampled_from(USERS))
    def first_client(self, selector: Pattern, user: str) -> None:
        if selector not in self.wanted:
            self.wanted[selector] = user
            self.waiting[selector] = None
            self.subject.want(selector, user)
            self.turns.clear()

    @rule(selector=st.sampled_from(SELECTORS))
    def last_client_leaves(self, selector: Pattern) -> None:
        self.wanted.pop(selector, None)
        self.waiting.pop(selector, None)
        if self.under_way is not None and self.under_way.selector == selector:
            self.is_still_wanted = False
        self.subject.forget(selector)
        self.turns.clear()

    @rule()
    def request(self) -> None:
        page = self.subject.begin_page()
        if self.under_way is not None or not self.waiting:
            assert page is None
            return
        assert page is not None
        assert self.waiting.pop(page.selector) == page.after
        self.under_way, self.is_still_wanted = page, True
        user = self.wanted[page.selector]
        if user in self.turns:
            others = {self.wanted[each] for each in self.waiting} - {user}
            assert others <= set(self.turns[self.turns.index(user) :]), "somebody was passed over"
            self.turns.remove(user)
        self.turns.append(user)

    @precondition(lambda self: self.under_way is not None)
    @rule(following=st.sampled_from([None, b"p", b"q"]))
    def answer(self, following: bytes | None) -> None:
        assert self.under_way is not None
        selector = self.under_way.selector
        if following is not None and self.is_still_wanted and selector not in self.waiting:
            self.waiting[selector] = following
        self.under_way = None
        self.subject.end_page(following)

    @precondition(lambda self: self.under_way is not None)
    @rule()
    def lose(self) -> None:
        assert self.under_way is not None
        selector, after = self.under_way
        if self.is_still_wanted and selector not in self.waiting:
            self.waiting[selector] = after
        self.under_way = None
        self.subject.lose_page()
        self.turns.clear()

    @invariant()
    def nothing_waits_but_what_is_wanted(self) -> None:
        assert len(self.subject) == len(self.waiting)
        assert self.waiting.keys() <= self.wanted.keys()

    def teardown(self) -> None:
        if self.under_way is not None:
            self.answer(None)
        for _ in range(len(self.waiting)):
            self.request()
            self.answer(None)
        assert not self.waiting, "everything wanted was requested"


Requests.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestRequests = Requests.TestCase


def test_the_turn_of_a_user_who_may_not_ask_now_comes_later() -> None:
    subject = LastValueRequests()
    subject.want(A, "alice")
    subject.want(B, "bob")
    assert subject.begin_page(lambda username: False) is None
    assert subject.begin_page(lambda username: username != "alice") == RetainedPage(B, None)
    assert subject.under_way_for == "bob"
    subject.end_page(None)
    assert subject.begin_page(lambda username: username != "alice") is None
    assert subject.begin_page() == RetainedPage(A, None)
    assert subject.under_way_for == "alice"
