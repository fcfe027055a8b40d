import CKernel
import EventRing
import Glibc
import InterruptModel
import Synchronization
import VFIOUser

/// A device in a process of its own for the tests: its registers raise interrupts.
///
///     vfio-user-peer SOCKET MSIX [once]
@main
enum Peer {
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count >= 3, let vectors = UInt32(arguments[2]) else { exit(64) }
        do {
            let server = try Server(try TestDevice(msix: vectors), path: arguments[1])
            // The tests wait for this line.
            tell("ready\n")
            try server.run(once: arguments.count > 3)
        } catch {
            tell("\(error)\n")
            exit(2)
        }
    }

    private static func tell(_ text: String) {
        let bytes = Array(text.utf8)
        // SAFETY: the array lives for the call, which reads no more than its count.
        _ = unsafe write(1, bytes, bytes.count)
    }
}

/// Region 0: a write of `n` to offset 0 raises MSI-X vector `n`; to offset 4, asserts INTx; to offset 8, lets it go; to
/// offset 12, raises every vector; to offset 16, writes the time to the address at offset 24 of the client's memory. At
/// offset 64 there is a doorbell that raises MSI-X vector 1, and at offset 72 how often it was rung.
final class TestDevice: MediatedDevice {
    private struct State {
        var memory: ClientMemory?
        var address: UInt64 = 0
        var rings: UInt64 = 0
    }

    let lines: InterruptLines?
    let vectors: UInt32
    private let state = Mutex(State())
    private let bell: EventFD

    init(msix: UInt32) throws {
        vectors = msix
        bell = try EventFD()
        lines = InterruptLines(DeviceProfile(hasINTx: true, msiVectors: 32, msixVectors: msix))
    }

    var regions: [RegionDescription] {
        [RegionDescription(size: 4096)] + (1..<9).map { RegionDescription(size: $0 == 7 ? 256 : 0) }
    }

    func read(region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
        guard offset != 72 else {
            let rings = state.withLock { $0.rings }
            return (0..<count).map { UInt8(truncatingIfNeeded: rings >> (8 * UInt64($0))) }
        }
        return (0..<count).map { UInt8(truncatingIfNeeded: offset + UInt64($0)) }
    }

    func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(DeviceError) {
        let value = bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        switch offset {
        case 0: lines?.raise(Vector(.msix, UInt32(truncatingIfNeeded: value)))
        case 4: lines?.raise(Vector(.intx, 0))
        case 8: lines?.lowerINTx()
        case 12: for number in 0..<vectors { lines?.raise(Vector(.msix, number)) }
        case 16: try stamp()
        case 24: state.withLock { $0.address = value }
        case 32: exit(3)
        default: throw DeviceError("write", errno: EINVAL)
        }
    }

    private func stamp() throws(DeviceError) {
        let (memory, address) = state.withLock { ($0.memory, $0.address) }
        guard let memory else { throw DeviceError("stamp", errno: ENODEV) }
        var bytes = try memory.read(address, count: 8)
        for place in bytes.indices { bytes[place] ^= 0xff }
        try memory.write(address, bytes)
    }

    func doorbells(region: UInt32) -> [Doorbell] {
        region == 0 ? [Doorbell(descriptor: bell.number, offset: 64, size: 2)] : []
    }

    var attention: Int32 { bell.number }

    func attend() {
        let rung = (try? bell.take()) ?? 0
        state.withLock { $0.rings += rung }
        for _ in 0..<rung { lines?.raise(Vector(.msix, 1)) }
    }

    func reset() throws(DeviceError) { lines?.reset() }

    func enabled(memory: ClientMemory) { state.withLock { $0.memory = memory } }

    func disabled() { state.withLock { $0.memory = nil } }
}
