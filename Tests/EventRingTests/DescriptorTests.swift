import CKernel
import EventRing
import Glibc
import Testing

// Exit tests wait for their turn among everything else that runs, so no half a minute limits them.
@Suite("when descriptors run out", .timeLimit(.minutes(5)))
struct DescriptorTests {
    @Test("a counted source removed when no descriptor is left: its count is not dropped", arguments: RingTier.allCases)
    func removedWithoutDescriptors(tier: RingTier) async {
        // In processes of their own: nothing else of this one could open a file meanwhile.
        switch tier {
        case .deferred: await #expect(processExitsWith: .success) { try removeWithoutDescriptors(.deferred) }
        case .cooperative: await #expect(processExitsWith: .success) { try removeWithoutDescriptors(.cooperative) }
        case .plain: await #expect(processExitsWith: .success) { try removeWithoutDescriptors(.plain) }
        case .epoll: await #expect(processExitsWith: .success) { try removeWithoutDescriptors(.epoll) }
        }
    }
}

private func removeWithoutDescriptors(_ tier: RingTier) throws {
    var loop = try makeLoop(tier)
    let signalled = try EventFD()
    var limit = rlimit()
    // SAFETY: the structure outlives the calls.
    try #require(unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0)
    let enough = limit.rlim_cur
    for _ in 0..<20 {
        // The loop's own descriptor for the caller's number, which the caller closes at once.
        let number = irqmux_duplicate(signalled.number)
        let source = try loop.add(number, tag: 1, delivery: .counted)
        #expect(try loop.drain().isEmpty)
        limit.rlim_cur = 3
        // SAFETY: as above. Below what is open already: nothing can be opened any more.
        try #require(unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0)
        #expect(irqmux_duplicate(number) == -EMFILE)
        // The READ may have completed by the time it is cancelled.
        try signalled.signal(5)
        try loop.remove(source)
        _ = irqmux_close(number)
        #expect(try loop.drain().isEmpty)
        do throws(RingError) {
            _ = try loop.add(signalled.number, tag: 2, delivery: .counted)
            Issue.record("added without a descriptor of its own")
        } catch { #expect(error.errno == EMFILE && error.remedy.utf8CodeUnitCount > 0) }
        limit.rlim_cur = enough
        // SAFETY: as above.
        try #require(unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0)
        #expect(try signalled.take() == 5, "the count went back")
    }
}
