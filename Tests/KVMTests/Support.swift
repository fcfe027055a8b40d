import CKernel
import EventRing
import Foundation
import KVM
import Testing

/// Expects `body` to fail with this errno and this reason, and the reason to have a remedy.
func expectRefusal<Result: ~Copyable>(
    _ operation: KVMError.Operation, _ errno: Int32, _ reason: KVMError.Reason,
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws(KVMError) -> Result
) {
    do {
        _ = try body()
        Issue.record("expected \(operation.name) to be refused: \(reason)", sourceLocation: sourceLocation)
    } catch {
        #expect(error == KVMError(operation, errno: errno, reason), sourceLocation: sourceLocation)
        #expect(error.remedy.utf8CodeUnitCount > 0, "no remedy for \(reason)", sourceLocation: sourceLocation)
    }
}

/// The same for a deassign, which consumes its owner.
func expectRefusal(
    ofDeassigning owner: consuming IRQFD, _ errno: Int32, _ reason: KVMError.Reason,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    do {
        try owner.deassign()
        Issue.record("expected the deassign to be refused: \(reason)", sourceLocation: sourceLocation)
    } catch {
        #expect(error == KVMError(.deassignIRQFD, errno: errno, reason), sourceLocation: sourceLocation)
    }
}

/// The same for a doorbell.
func expectRefusal(
    ofDeassigning owner: consuming IOEventFD, _ errno: Int32, _ reason: KVMError.Reason,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    do {
        try owner.deassign()
        Issue.record("expected the deassign to be refused: \(reason)", sourceLocation: sourceLocation)
    } catch {
        #expect(error == KVMError(.deassignIOEventFD, errno: errno, reason), sourceLocation: sourceLocation)
    }
}

/// A number that is never open: fd numbers of closed files are reused by tests that run beside this one.
let neverOpen: Int32 = 1 << 30

/// The number of a file that is open and no eventfd.
func withPlainFile(_ body: (Int32) throws -> Void) throws {
    let file = try #require(FileHandle(forUpdatingAtPath: "/dev/null"))
    try body(file.fileDescriptor)
    try file.close()
}

/// An eventfd's counter, without taking it.
func counter(of number: Int32) throws -> UInt64 {
    var count: UInt64 = 0
    // SAFETY: the wrapper writes 8 bytes at most.
    try #require(unsafe irqmux_eventfd_peek(number, &count) == 0)
    return count
}

/// Whether the running kernel is at least `major.minor`.
func kernelIsAtLeast(_ major: Int, _ minor: Int) -> Bool {
    let version = ProcessInfo.processInfo.operatingSystemVersion
    return (version.majorVersion, version.minorVersion) >= (major, minor)
}

/// A small generator whose seed a failing property test prints.
struct SplitMix64: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// Duplicates a descriptor to a number so high that tests beside this one do not get it once it is closed.
func duplicateOutOfReach(_ number: Int32) throws -> Int32 {
    let copy = fcntl(number, F_DUPFD_CLOEXEC, 900)
    try #require(copy >= 0, "RLIMIT_NOFILE must exceed 900")
    return copy
}

extension VirtualMachine {
    /// A machine whose file descriptor was closed behind its owner's back.
    static func closed() throws -> VirtualMachine {
        let original = try VirtualMachine()
        let number = try duplicateOutOfReach(original.number)
        let machine = try VirtualMachine(owning: number)
        #expect(irqmux_close(number) == 0)
        return machine
    }
}
