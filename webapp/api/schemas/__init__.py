"""The shapes that go in and out, one module a resource. Inputs are checked against them, answers are documented by them
(and held against them by the tests)."""
