// The part of the guest's driver that every PCI driver has: configuration space by ports, and an MSI-X table.
import MicroGuest

enum PCIDriver {
    /// Vendor and device of the Exerciser, as the first register has them.
    private static let identity: UInt32 = 0x4951_1234
    private static let addressPort: UInt16 = 0xcf8
    private static let dataPort: UInt16 = 0xcfc
    /// Where the driver puts the base addresses.
    private static let bars: [(register: UInt32, address: UInt32)] = [
        (0x10, UInt32(Map.base)), (0x18, 0xd_4000), (0x20, 0xe_0000),
    ]
    private static let messagesBAR: UInt32 = 4

    /// In the guest's memory: the function's address for the address port, the capability's, and what was read last.
    private static let function: UInt16 = 0x820
    private static let capability: UInt16 = 0x824
    private static let pointer: UInt16 = 0x828
    private static let last: UInt16 = 0x82c
    /// The segments at which table and pending bits begin.
    private static let tableSegment: UInt16 = 0x830
    private static let pendingSegment: UInt16 = 0x834

    /// Looks at each device of the bus, gives the one it knows addresses, and walks its chain to MSI-X. Returns the
    /// jumps that are taken when something is not there.
    static func find(_ code: inout RealModeAssembler) -> [RealModeAssembler.ForwardJump] {
        var missing: [RealModeAssembler.ForwardJump] = []
        code.store(0x8000_0000, function)
        let probe = code.here
        code.loadEAX(function)
        read(&code)
        code.compareEAX(with: identity)
        let found = code.jumpForward(if: .equal)
        code.loadEAX(function)
        code.addEAX(with: 0x800)
        code.storeEAX(function)
        code.compareEAX(with: 0x8001_0000)
        code.jump(if: .below, to: probe)
        missing.append(code.jumpForward(if: .aboveOrEqual))
        code.land(found)

        for bar in bars { write(bar.address, at: bar.register, &code) }
        // Memory space and bus master.
        write(0x0006, at: 0x04, &code)

        select(0x34, &code)
        let next = code.here
        code.andEAX(with: 0xfc)
        code.storeEAX(pointer)
        code.compareEAX(with: 0x40)
        missing.append(code.jumpForward(if: .below))
        code.loadEAX(function)
        code.addEAX(pointer)
        code.storeEAX(capability)
        read(&code)
        code.storeEAX(last)
        code.andEAX(with: 0xff)
        code.compareEAX(with: 0x11)
        let isMSIX = code.jumpForward(if: .equal)
        code.loadEAX(last)
        code.shiftEAXRight(by: 8)
        code.jmp(next)
        code.land(isMSIX)

        for (register, segment) in [(UInt32(4), tableSegment), (8, pendingSegment)] {
            code.loadEAX(capability)
            code.addEAX(with: register)
            read(&code)
            code.storeEAX(last)
            code.andEAX(with: 7)
            code.compareEAX(with: messagesBAR)
            missing.append(code.jumpForward(if: .notEqual))
            code.loadEAX(last)
            code.andEAX(with: ~7)
            code.addEAX(with: bars[2].address)
            code.shiftEAXRight(by: 4)
            code.storeEAX(segment)
        }
        return missing
    }

    /// Message Control: bit 15 enables, bit 14 masks the function.
    static func writeControl(_ value: UInt16, _ code: inout RealModeAssembler) {
        code.loadEAX(capability)
        code.movDX(addressPort)
        code.outDXfromEAX()
        code.movDX(dataPort + 2)
        code.movAX(value)
        code.outDXfromAX()
    }

    /// Entry 0: to the local APIC, with this vector, unmasked.
    static func program(vector: UInt8, _ code: inout RealModeAssembler) {
        enter(tableSegment, &code)
        code.storeInES(0xfee0_0000, 0)
        code.storeInES(0, 4)
        code.storeInES(UInt32(vector), 8)
        code.storeInES(0, 12)
        leave(&code)
    }

    static func setMask(_ masked: Bool, _ code: inout RealModeAssembler) {
        enter(tableSegment, &code)
        code.storeInES(masked ? 1 : 0, 12)
        leave(&code)
    }

    /// A message that was raised under a mask is on its way to the pending bits for a moment.
    static func awaitPendingBit(_ code: inout RealModeAssembler) {
        enter(pendingSegment, &code)
        let look = code.here
        code.loadEAXfromES(0)
        code.andEAX(with: 1)
        code.compareEAX(with: 1)
        code.jump(if: .notEqual, to: look)
        leave(&code)
    }

    private static func enter(_ segment: UInt16, _ code: inout RealModeAssembler) {
        code.loadEAX(segment)
        code.movESfromAX()
    }

    /// Back to the device's registers, where the handlers expect ES.
    private static func leave(_ code: inout RealModeAssembler) {
        code.movAX(Map.segment)
        code.movESfromAX()
    }

    /// Reads the register whose address is in EAX.
    private static func read(_ code: inout RealModeAssembler) {
        code.movDX(addressPort)
        code.outDXfromEAX()
        code.movDX(dataPort)
        code.inEAXfromDX()
    }

    /// Reads a register of the function.
    private static func select(_ register: UInt32, _ code: inout RealModeAssembler) {
        code.loadEAX(function)
        code.addEAX(with: register)
        read(&code)
    }

    private static func write(_ value: UInt32, at register: UInt32, _ code: inout RealModeAssembler) {
        code.loadEAX(function)
        code.addEAX(with: register)
        code.movDX(addressPort)
        code.outDXfromEAX()
        code.movDX(dataPort)
        code.movEAX(value)
        code.outDXfromEAX()
    }
}
