from __future__ import annotations

import re

from arbpipe.sim.listing import Kind, PolymarketListing, Venue, make_events

EVENTS = make_events(3, 40)
LISTINGS = [m.listing for e in EVENTS for m in e.markets if isinstance(m.listing, PolymarketListing)]


def test_kinds_cycle_and_every_outcome_is_listed_once_on_each_venue() -> None:
    assert [event.kind for event in EVENTS[:5]] == [Kind.PAIR, Kind.GAME, Kind.PARTITION, Kind.LADDER, Kind.PAIR]
    for event in EVENTS:
        assert [(m.venue, m.outcome) for m in event.markets] == [(v, o) for v in Venue for o in range(event.outcomes)]
        for venue in Venue:
            for outcome in range(event.outcomes):
                market = event.markets[event.position(venue, outcome)]
                assert (market.venue, market.outcome) == (venue, outcome)


def test_ids_are_unique_and_look_like_the_venues() -> None:
    keys = [market.key for event in EVENTS for market in event.markets]
    assert len(set(keys)) == len(keys)
    for key in keys:
        assert re.fullmatch(r"kalshi:KXSIM[A-Z]+-26[A-Z0-9]+-[A-Z0-9]+|polymarket:0x[0-9a-f]{64}", key) or "RATE" in key
    tokens = [token for listing in LISTINGS for token in (listing.yes_token, listing.no_token)]
    assert len(set(tokens)) == len(tokens)


def test_v2_position_ids_follow_the_condition_and_v1_ids_do_not_look_like_them() -> None:
    assert {listing.version for listing in LISTINGS} == {"v1", "v2"}
    for listing in LISTINGS:
        shaped = [(int(token) >> 40) & (2**64 - 1) == 0 for token in (listing.yes_token, listing.no_token)]
        assert shaped == [listing.version == "v2"] * 2
        if listing.version == "v2":
            assert listing.condition_id.endswith("00")
            condition31 = int(listing.condition_id[2:64], 16)
            assert int(listing.yes_token) == condition31 << 8
            assert int(listing.no_token) == (condition31 << 8) | 1


def test_a_game_names_teams_and_puts_the_other_team_first_on_polymarket() -> None:
    game = EVENTS[1]
    kalshi, polymarket = game.markets
    assert (kalshi.yes_label, kalshi.no_label) == ("Yes", "No")
    assert polymarket.inverted
    assert kalshi.title.startswith(polymarket.no_label)
    assert polymarket.yes_label in kalshi.title


def test_one_pair_event_in_four_accepts_tails_and_nothing_else_does() -> None:
    pairs = [event for event in EVENTS if event.kind is Kind.PAIR]
    assert sum(event.tails == "accepted" for event in pairs) == len(pairs) // 4 + (len(pairs) % 4 > 1)
    assert all(event.tails == "none" for event in EVENTS if event.kind is not Kind.PAIR)


def test_more_events_change_none_before_them() -> None:
    assert make_events(3, 5) == EVENTS[:5]
    assert make_events(4, 5) != EVENTS[:5]
