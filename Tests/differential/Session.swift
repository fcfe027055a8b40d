import CKernel
import Foundation
import InterruptModel
import VFIO

/// One opening of the device, with the model of it.
struct Session {
    private let device: RawDevice
    private let pool: Pool
    private var mirror: DeviceMirror
    private(set) var model: DeviceInterrupts

    private static let bar0 = UInt32(VFIO_PCI_BAR0_REGION_INDEX)

    init(_ test: Differential) throws {
        device = try RawDevice(test.name, by: test.way)
        pool = test.pool
        mirror = DeviceMirror(test.kind)
        model = DeviceInterrupts(test.profile, test.dialect)
        if test.kind != .mtty {
            // Memory and bus master: a message is a write of the device's own.
            try device.device.setCommand(try device.device.command() | 0x6)
        }
        try quieten(test)
        pool.drain()
    }

    /// Leaves the device without an interrupt of an earlier session's: line low, no pending bit.
    private func quieten(_ test: Differential) throws {
        switch test.kind {
        case .edu: try device.write(Self.bar0, 0x64, 0xffff_ffff)
        case .rocker:
            let all = [Int32](repeating: pool.triggers[0], count: Int(test.profile.msixVectors))
            _ = device.setIRQs(IRQRequest(.msix, .trigger, .eventfd(all)).encoded)
            _ = device.setIRQs(IRQRequest(.msix, .trigger, .none(count: 0)).encoded)
        case .silent, .mtty: break
        }
    }

    /// Does one step to both. Returns how they differ, if they do.
    mutating func apply(_ step: Step) throws -> String? {
        var differences: [String] = []
        switch step {
        case .request(let bytes):
            let result = device.setIRQs(bytes)
            let outcome = model.apply(bytes: bytes) { pool.lookUp($0) }
            pool.expect(outcome.signals)
            pool.expect(mirror.follow(outcome.changes))
            if result != outcome.returnValue {
                let answers = (Self.name(result), Self.name(outcome.returnValue))
                differences.append("the kernel answers \(answers.0), the model \(answers.1) (\(outcome.reason))")
            }
        case .raise(let vector):
            let expectation = mirror.raise(vector, &model)
            if case .signal(let eventFD) = expectation { pool.expect([eventFD]) }
            try raise(vector)
        case .acknowledge: try acknowledge()
        case .disINTx(let set):
            if let eventFD = model.writeDisINTx(set) { pool.expect([eventFD]) }
            let old = try device.device.command()
            try device.device.setCommand(set ? old | 0x400 : old & ~0x400)
        case .signal(let number):
            let unmasks = model.unmaskEventFD?.number == number
            if unmasks, let eventFD = model.unmaskEventFDSignalled() { pool.expect([eventFD]) }
            pool.signal(number)
            // A line that is still asserted is told again by a kernel worker, to whichever eventfd stands when it runs:
            // let it, before the next request names another. There is one processor, and it is the worker's now.
            if unmasks { usleep(500) }
            // Nobody else listens to it: it must come back whole.
            if !unmasks { pool.expect([AssignedEventFD(number: number, identity: 0)]) }
        }
        if mirror.mustAcknowledge(model) { try acknowledge() }
        if let difference = pool.difference() { differences.append(difference) }
        return differences.isEmpty ? nil : differences.joined(separator: "; ")
    }

    private mutating func acknowledge() throws {
        mirror.acknowledge(&model)
        if mirror.kind == .edu { try device.write(Self.bar0, 0x64, 0xffff_ffff) }
    }

    private func raise(_ vector: Int) throws {
        switch mirror.kind {
        case .edu: try device.write(Self.bar0, 0x60, 1)
        case .rocker: try device.write(Self.bar0, 0x20, UInt64(vector))
        // Interrupt enable register: the transmitter holding register is empty, which interrupts.
        case .mtty: try device.write(Self.bar0, 1, count: 1, 2)
        case .silent: break
        }
    }

    private static func name(_ result: Int32) -> String {
        // SAFETY: the table of names is static.
        result < 0 ? "−" + (unsafe String(cString: irqmux_errno_name(-result))) : String(result)
    }
}
