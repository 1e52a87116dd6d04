"""What starts, stops and observes programs: one module a runtime, behind the contract in base."""
