from webapp.auth.passwords import hash_password, matches


def test_only_the_password_matches_its_hash() -> None:
    stored = hash_password("pässword")
    assert stored.startswith("$argon2id$")
    assert "pässword" not in stored
    assert matches(stored, "pässword")
    assert not matches(stored, "password")
    assert hash_password("pässword") != stored


def test_without_a_user_nothing_matches() -> None:
    assert not matches(None, "")
    assert not matches("no hash", "x")
