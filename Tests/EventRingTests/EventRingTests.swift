// EventRingTests
