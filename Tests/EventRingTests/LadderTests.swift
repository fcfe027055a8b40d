import CKernel
import EventRing
import Foundation
import Testing

@Suite("the ladder of tiers")
struct LadderTests {
    @Test("the tier that is asked for is the tier in force, and nothing stood in its way", arguments: RingTier.allCases)
    func chosen(tier: RingTier) throws {
        var options = LoopOptions()
        options.bestTier = tier
        let loop = try EventLoop(options)
        #expect(loop.report.tier == tier)
        #expect(loop.report.obstacle == nil)
    }

    @Test("tiers are ordered by goodness")
    func order() {
        #expect(RingTier.allCases.sorted(by: >) == [.deferred, .cooperative, .plain, .epoll])
    }

    @Test(
        "a completion queue smaller than the submission queue is no reason for epoll",
        arguments: [1, 2, 7, 1000, 65536])
    func smallQueue(completions: Int) throws {
        var options = LoopOptions()
        options.capacity = 4000
        options.completions = completions
        #expect(try EventLoop(options).report.tier == .deferred)
    }

    @Test("probing finds what a loop gets")
    func probe() throws {
        #expect(RingReport.probe().tier == (try EventLoop()).report.tier)
    }

    @Test("where io_uring is forbidden (EPERM) the loop works with epoll and says what to change")
    func forbidden() async {
        await #expect(processExitsWith: .success) { try exerciseWithoutRing(refusal: EPERM) }
    }

    @Test("where io_uring is missing (ENOSYS) the loop works with epoll and says what to change")
    func missing() async {
        await #expect(processExitsWith: .success) { try exerciseWithoutRing(refusal: ENOSYS) }
    }

    @Test("where only the use of a ring is forbidden (io_uring_enter, io_uring_register) the loop works with epoll too")
    func useForbidden() async {
        await #expect(processExitsWith: .success) { try exerciseWithoutRing(refusal: EPERM, of: [426]) }
        await #expect(processExitsWith: .success) { try exerciseWithoutRing(refusal: ENOSYS, of: [427]) }
    }

    @Test("where a filter answers EPERM to epoll_pwait2, which is younger than many filters, epoll_wait does it")
    func oldFilter() async {
        await #expect(processExitsWith: .success) { try exerciseWithoutRing(refusal: EPERM, of: [425, 441]) }
    }

    @Test("a loop that was destroyed has left no descriptor open, on any tier, whatever was armed")
    func noLeak() async {
        await #expect(processExitsWith: .success) {
            for tier in RingTier.allCases {
                for waiting in [WaitMode.block, .spin] {
                    try useAndDestroy(tier, waiting)
                    let before = try openDescriptors()
                    for _ in 0..<5 { try useAndDestroy(tier, waiting) }
                    try #require(try openDescriptors() == before, "\(tier) \(waiting)")
                }
            }
        }
    }

    @Test("a loop with room for 16384 sources takes at most 8 MiB, all of them armed")
    func memory() async {
        await #expect(processExitsWith: .success) {
            let eventfd = try EventFD()
            _ = try useAndDestroy(.deferred, .block)
            let before = try residentBytes()
            var options = LoopOptions()
            options.capacity = 16_384
            var loop = try EventLoop(options)
            for tag in 0..<16_384 as Range<UInt64> { _ = try loop.add(eventfd.number, tag: tag) }
            try loop.wait(timeout: 0)
            try eventfd.signal()
            var events = 0
            while events < 16_384 {
                try loop.wait(timeout: 0)
                while loop.next() != nil { events += 1 }
            }
            try #require(try residentBytes() - before <= 8 << 20)
        }
    }

    @Test("a forked child that touches nothing disturbs nothing")
    func fork() async {
        await #expect(processExitsWith: .success) {
            var loop = try EventLoop()
            let eventfd = try EventFD()
            _ = try loop.add(eventfd.number, tag: 1)
            _ = try loop.drain()
            let child = try callFork()
            if child == 0 { _exit(0) }
            try eventfd.signal()
            try #require(try loop.drain().count == 1)
            var status: Int32 = 0
            // SAFETY: the status is valid for the call.
            try #require(unsafe waitpid(child, &status, 0) == child)
            try #require(status == 0)
            try eventfd.signal()
            try #require(try loop.drain().count == 1)
        }
    }
}

private func useAndDestroy(_ tier: RingTier, _ waiting: WaitMode) throws {
    var loop = try makeLoop(tier) { $0.waiting = waiting }
    let eventfds = try (0..<2).map { _ in try EventFDBox() }
    _ = try loop.add(eventfds[0].number, tag: 1)
    let counted = try loop.add(eventfds[1].number, tag: 2, delivery: .counted)
    _ = try loop.drain()
    // Destroyed with a source armed, one being removed, and a signal under way.
    for eventfd in eventfds { eventfd.signal() }
    try loop.remove(counted)
}

private func openDescriptors() throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
}

private func residentBytes() throws -> Int {
    let fields = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
    return (Int(fields[1]) ?? 0) * sysconf(Int32(_SC_PAGESIZE))
}

/// fork(2), which Swift hides because a child may hardly do anything: this one calls _exit.
private func callFork() throws -> pid_t {
    // SAFETY: RTLD_DEFAULT (null) finds the C library's fork, whose type is given.
    let symbol = unsafe try #require(dlsym(nil, "fork"))
    return unsafe unsafeBitCast(symbol, to: (@convention(c) () -> pid_t).self)()
}

/// Has the kernel refuse io_uring_setup, or other calls, in this process, and uses a loop all the same.
private func exerciseWithoutRing(refusal: Int32, of calls: [UInt32] = [425]) throws {
    try forbid(calls, refusal)
    let report = RingReport.probe()
    try #require(report.tier == .epoll)
    try #require(report.obstacle?.errno == refusal)
    var loop = try EventLoop()
    try #require(loop.report.tier == .epoll)
    try #require(loop.report.obstacle?.errno == refusal)
    try #require((loop.report.obstacle?.remedy.utf8CodeUnitCount ?? 0) > 0)
    let eventfd = try EventFD()
    _ = try loop.add(eventfd.number, tag: 7, delivery: .counted)
    try eventfd.signal(3)
    try #require(try loop.collect(1).map(\.count) == [3])
}

/// A seccomp filter: these calls fail with `errno`, everything else is allowed. Numbers from 424 on are the same on
/// every architecture: 425 to 427 are io_uring's setup, enter and register, 441 is epoll_pwait2.
private func forbid(_ calls: [UInt32], _ errno: Int32) throws {
    typealias Prctl = @convention(c) (Int32, UInt, UInt, UInt, UInt) -> Int32
    // SAFETY: null is RTLD_DEFAULT; prctl's unnamed arguments are longs, passed in registers as named ones are.
    let symbol = unsafe try #require(dlsym(nil, "prctl"))
    let prctl = unsafe unsafeBitCast(symbol, to: Prctl.self)
    var filter = [FilterInstruction(code: 0x20, jt: 0, jf: 0, k: 0)]  // load the system call's number
    for call in calls {
        filter.append(FilterInstruction(code: 0x15, jt: 0, jf: 1, k: call))
        filter.append(FilterInstruction(code: 0x06, jt: 0, jf: 0, k: 0x5_0000 | UInt32(errno)))  // SECCOMP_RET_ERRNO
    }
    filter.append(FilterInstruction(code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000))  // SECCOMP_RET_ALLOW
    try #require(prctl(38, 1, 0, 0, 0) == 0)  // PR_SET_NO_NEW_PRIVS
    // SAFETY: the filter lives until the call returns.
    try unsafe filter.withUnsafeMutableBufferPointer { instructions in
        var program = unsafe FilterProgram(len: UInt16(instructions.count), filter: instructions.baseAddress)
        let result = unsafe withUnsafePointer(to: &program) { prctl(22, 2, UInt(bitPattern: $0), 0, 0) }
        try #require(result == 0)  // PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    }
}

// Of linux/filter.h.
private struct FilterInstruction {
    var code: UInt16
    var jt: UInt8
    var jf: UInt8
    var k: UInt32
}

@unsafe private struct FilterProgram {
    var len: UInt16
    var filter: UnsafeMutablePointer<FilterInstruction>?
}
