import CKernel
import Glibc
import Testing

@testable import EventRing

@Suite("clock", .hangLimit)
struct ClockTests {
    @Test("a calibrated clock measures a span as CLOCK_MONOTONIC does")
    func calibrated() {
        var clock = CycleClock.calibrated()
        for _ in 0..<3 {
            let before = irqmux_monotonic_ns()
            let start = clock.now
            usleep(20_000)
            let end = clock.now
            let after = irqmux_monotonic_ns()
            // The stamps lie within the outer span; preempted or not, never beyond it by more than the rate's error.
            #expect(clock.nanoseconds(end - start) <= (after - before) + (after - before) / 100)
            #expect(clock.nanoseconds(end - start) >= 19_800_000)
            #expect(clock.monotonic(start) + 1_000_000 >= before)
            #expect(clock.monotonic(end) <= after + 1_000_000)
            clock.discipline()
        }
        #expect(clock.fallbacks == 0)
    }

    @Test("stamps never run backwards on one thread")
    func monotonic() {
        let clock = CycleClock.calibrated()
        var last = clock.now
        for _ in 0..<100_000 {
            let now = clock.now
            #expect(now >= last)
            last = now
        }
    }

    @Test("nanoseconds to ticks and back differ by a tick at most", arguments: [CycleClock.calibrated(), .monotonic])
    func roundTrip(clock: CycleClock) {
        for value in [0, 1, 999, 1_000_000, 3_600_000_000_000, 1 << 60] as [UInt64] {
            let back = clock.nanoseconds(clock.ticks(value))
            #expect(back <= value && value - back <= 2)
        }
        #expect(clock.ticks(.max) >= clock.ticks(1 << 60))
    }

    @Test("the fall-back is CLOCK_MONOTONIC itself: a tick is a nanosecond")
    func fallback() {
        var clock = CycleClock.monotonic
        #expect(clock.source == .monotonic)
        let before = irqmux_monotonic_ns()
        let stamp = clock.now
        #expect(stamp >= before && stamp <= irqmux_monotonic_ns())
        #expect(clock.monotonic(stamp) == stamp && clock.nanoseconds(7) == 7 && clock.ticks(7) == 7)
        clock.discipline()
        #expect(clock.fallbacks == 0)
        #expect(!clock.isDue(clock.now))
    }

    @Test("a counter that strays is given up for good, and only then")
    func strays() {
        // A counter of one tick a nanosecond, compared at moments that the test makes up.
        let second: UInt64 = 1_000_000_000
        var clock = CycleClock(from: (0, 0), to: (second, second))
        clock.discipline(by: (2 * second, 2 * second + 500_000))
        #expect(clock.source == .cycleCounter)
        var slow = clock
        slow.discipline(by: (3 * second, 3 * second + 500_000_000))
        #expect(slow.source == .monotonic && slow.fallbacks == 1)
        var backwards = clock
        backwards.discipline(by: (second, 3 * second))
        #expect(backwards.source == .monotonic && backwards.fallbacks == 1)
        clock.discipline(by: (3 * second, 3 * second + 600_000))
        #expect(clock.source == .cycleCounter && clock.fallbacks == 0)
        #expect(clock.monotonic(3 * second) == 3 * second + 600_000)
    }
}
