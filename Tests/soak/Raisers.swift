import Exerciser
import Foundation
import InterruptModel
import Synchronization

/// Threads that raise.
final class Raisers: Sendable {
    private let group = DispatchGroup()
    private let raised = Atomic<UInt64>(0)

    /// Raises `signals` altogether; the history of each thread hangs on seed and round.
    init(device: Exerciser, soak: Soak, signals: UInt64, round: UInt64) {
        for number in 0..<soak.raisers {
            let share = signals / UInt64(soak.raisers)
            let count = number == 0 ? signals - share * UInt64(soak.raisers - 1) : share
            let seed = (soak.seed &* 1000 &+ UInt64(number)) &+ round << 32
            let (vectors, guest) = (soak.vectors, soak.guest)
            group.enter()
            Thread { [self] in
                raise(count, SplitMix(seed: seed), device, vectors, guest)
                group.leave()
            }.start()
        }
    }

    /// Bursts on one vector, single signals, and now and then a silence in which the loops fall asleep.
    private func raise(
        _ count: UInt64, _ random: SplitMix, _ device: Exerciser, _ vectors: Int, _ guest: SoakGuest?
    ) {
        var (random, left) = (random, count)
        while left > 0 {
            let vector = random.below(vectors)
            let burst = min(left, random.below(8) == 0 ? UInt64(1 + random.below(64)) : 1)
            for _ in 0..<burst {
                guest?.begin(vector)
                device.raise(Vector(.msix, UInt32(vector)))
            }
            left -= burst
            raised.wrappingAdd(burst, ordering: .relaxed)
            if random.below(64) == 0 { usleep(UInt32(random.below(60))) }
        }
    }

    var count: UInt64 { raised.load(ordering: .relaxed) }

    /// Whether all is raised.
    var areDone: Bool { group.wait(timeout: .now()) == .success }
}

/// A generator whose whole state is one number, so that a failing run is named by its seed.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
}
