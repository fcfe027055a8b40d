import InterruptModel
import Testing

/// Configuration space as a test writes it.
struct FakeConfiguration {
    var bytes: [UInt8]

    /// A device with one standard chain that begins at 0x40, and with an empty extended one.
    init(size: Int = 4096, pin: UInt8 = 1) {
        bytes = [UInt8](repeating: 0, count: size)
        put16(0x00, 0x1AF4)
        put16(0x02, 0x1000)
        bytes[0x06] = 0x10
        bytes[0x34] = 0x40
        bytes[0x3D] = pin
    }

    mutating func put16(_ offset: Int, _ value: UInt16) {
        bytes[offset] = UInt8(truncatingIfNeeded: value)
        bytes[offset + 1] = UInt8(value >> 8)
    }

    mutating func put32(_ offset: Int, _ value: UInt32) {
        put16(offset, UInt16(truncatingIfNeeded: value))
        put16(offset + 2, UInt16(value >> 16))
    }

    mutating func capability(_ offset: Int, id: UInt8, next: UInt8, control: UInt16 = 0) {
        bytes[offset] = id
        bytes[offset + 1] = next
        put16(offset + 2, control)
    }

    mutating func msix(
        _ offset: Int, next: UInt8 = 0, vectors: UInt16 = 64, table: UInt32 = 0x2002, pending: UInt32 = 0x3002
    ) {
        capability(offset, id: 0x11, next: next, control: vectors - 1)
        put32(offset + 4, table)
        put32(offset + 8, pending)
    }

    mutating func extended(_ offset: Int, id: UInt16, version: UInt8 = 1, next: Int = 0) {
        put32(offset, UInt32(id) | UInt32(version) << 16 | UInt32(next) << 20)
    }

    var parsed: PCICapabilities { PCICapabilities(bytes.span) }
}

@Suite("Capabilities in configuration space")
struct ConfigurationSpaceTests {
    @Test("MSI, MSI-X and PCI Express are found with their fields, past capabilities of other kinds")
    func standard() throws {
        var space = FakeConfiguration()
        space.capability(0x40, id: 0x01, next: 0x50)
        space.capability(0x50, id: 0x05, next: 0x68, control: 0x01 | 3 << 1 | 2 << 4 | 0x80 | 0x100)
        space.msix(0x68, next: 0x80, vectors: 2048, table: 0x4003, pending: 0xC005)
        space.capability(0x80, id: 0x10, next: 0x00, control: 2 | 9 << 4 | 5 << 9)
        space.put32(0x84, 1 << 28)
        let found = space.parsed
        try found.requireSound()
        #expect(found.vendor == 0x1AF4 && found.device == 0x1000 && found.interruptPin == 1)
        let msi = try #require(found.msi)
        #expect(msi.offset == 0x50 && msi.vectors == 8 && msi.enabledVectors == 4 && msi.isEnabled)
        #expect(msi.is64Bit && msi.hasMasks && msi.length == 24)
        #expect(msi.dataOffset == 0x5C && msi.maskOffset == 0x60 && msi.pendingOffset == 0x64)
        let msix = try #require(found.msix)
        #expect(msix.offset == 0x68 && msix.vectors == 2048 && !msix.isEnabled && !msix.isFunctionMasked)
        #expect(msix.table == .init(bar: 3, offset: 0x4000) && msix.pending == .init(bar: 5, offset: 0xC000))
        #expect(msix.tableLength == 32768 && msix.pendingLength == 256)
        let express = try #require(found.express)
        #expect(express.version == 2 && express.portType == 9 && express.interruptMessage == 5)
        #expect(express.resetsFunction)
    }

    @Test("an MSI capability has the length that its 64-bit and mask bits say", arguments: [0, 0x80, 0x100, 0x180])
    func msiShapes(bits: UInt16) throws {
        var space = FakeConfiguration()
        space.capability(0x40, id: 0x05, next: 0, control: bits)
        let msi = try #require(space.parsed.msi)
        let long = bits & 0x80 != 0
        #expect(msi.length == (long ? 14 : 10) + (bits & 0x100 != 0 ? 10 : 0))
        #expect(msi.dataOffset == (long ? 0x4C : 0x48))
        #expect(msi.maskOffset == (bits & 0x100 == 0 ? nil : long ? 0x50 : 0x4C))
        #expect(msi.pendingOffset == msi.maskOffset.map { $0 + 4 })
    }

    @Test("error reporting and virtual functions are found in extended space")
    func extended() throws {
        var space = FakeConfiguration()
        space.bytes[0x06] = 0
        space.extended(0x100, id: 0x000D, next: 0x140)
        space.extended(0x140, id: 0x0001, version: 2, next: 0x200)
        space.put32(0x144, 0x10)
        space.put32(0x14C, 0x10)
        space.extended(0x200, id: 0x0010)
        for (offset, value) in [(0x08, 1), (0x0C, 8), (0x0E, 8), (0x10, 4), (0x14, 0x80), (0x16, 2), (0x1A, 0x1889)] {
            space.put16(0x200 + offset, UInt16(value))
        }
        let found = space.parsed
        try found.requireSound()
        let reporting = try #require(found.errorReporting)
        #expect(reporting.offset == 0x140 && reporting.version == 2 && reporting.hasFatalError)
        let functions = try #require(found.virtualFunctions)
        #expect(functions.isEnabled && functions.total == 8 && functions.number == 4 && functions.device == 0x1889)
        #expect(functions.routingIdentity(3, physical: 0x0100) == 0x0186)
        #expect(functions.routingIdentity(8, physical: 0x0100) == nil)
        #expect(functions.routingIdentity(1, physical: 0xFFFF) == nil)
    }

    @Test("a masked fatal error is not one, and neither is one that is not severe")
    func maskedErrors() throws {
        for (mask, severity) in [(UInt32(0x10), UInt32(0x10)), (0, 0)] {
            var space = FakeConfiguration()
            space.extended(0x100, id: 0x0001)
            space.put32(0x104, 0x10)
            space.put32(0x108, mask)
            space.put32(0x10C, severity)
            #expect(try !#require(space.parsed.errorReporting).hasFatalError)
        }
    }

    @Test("a card bus bridge has its chain elsewhere, and a function without the status bit has none")
    func whereTheChainBegins() {
        var bridge = FakeConfiguration()
        bridge.bytes[0x0E] = 0x82
        bridge.bytes[0x34] = 0
        bridge.bytes[0x14] = 0x60
        bridge.msix(0x60)
        #expect(bridge.parsed.msix?.offset == 0x60 && bridge.parsed.headerType == 2)
        var without = FakeConfiguration()
        without.msix(0x40)
        without.bytes[0x06] = 0
        #expect(without.parsed.msix == nil && without.parsed.standardFault == nil)
    }

    @Test("no extended chain: 256 bytes, zeros, ones, and standard space shown again")
    func withoutExtended() {
        var spaces = [FakeConfiguration(size: 256), FakeConfiguration(), FakeConfiguration(), FakeConfiguration()]
        spaces[2].put32(0x100, .max)
        spaces[3].put32(0x100, 0x1000_1AF4)
        for space in spaces {
            let found = space.parsed
            #expect(found.errorReporting == nil && found.virtualFunctions == nil && found.extendedFault == nil)
        }
    }

    @Test("BARs that are too small for table or pending bits are noticed")
    func barSizes() throws {
        var space = FakeConfiguration()
        space.msix(0x40, vectors: 64, table: 0x2002, pending: 0x3002)
        let msix = try #require(space.parsed.msix)
        #expect(msix.fits { $0 == 2 ? 0x3008 : 0 })
        #expect(!msix.fits { $0 == 2 ? 0x3007 : 0 })
        #expect(!msix.fits { _ in 0 })
    }

    @Test("the error of the caller's reader comes through")
    func readerFails() {
        struct Gone: Error, Equatable { var offset: Int }
        #expect(throws: Gone(offset: 0x34)) {
            _ = try PCICapabilities(size: 256) { (offset) throws(Gone) -> UInt8 in
                if offset == 0x34 { throw Gone(offset: offset) }
                return offset == 0x06 ? 0x10 : 0
            }
        }
    }
}

@Suite("Capabilities that lie")
struct LyingConfigurationTests {
    /// One lie, what is made of it, and whether the MSI-X capability beside it survives.
    struct Lie: Sendable, CustomTestStringConvertible {
        var name: String
        var fault: CapabilityFault
        var keepsMSIX: Bool
        var tell: @Sendable (inout FakeConfiguration) -> Void
        var testDescription: String { name }
    }

    static let standard: [Lie] = [
        Lie(name: "a capability that points to itself", fault: .init(.loop, at: 0x60), keepsMSIX: true) {
            $0.capability(0x60, id: 0x01, next: 0x60)
        },
        Lie(name: "a chain that goes back to its begin", fault: .init(.loop, at: 0x40), keepsMSIX: true) {
            $0.capability(0x60, id: 0x01, next: 0x40)
        },
        Lie(name: "a pointer into the header", fault: .init(.pointerOutside, at: 0x3C), keepsMSIX: true) {
            $0.capability(0x60, id: 0x01, next: 0x3F)
        },
        Lie(name: "a capability of ones", fault: .init(.notAnswering, at: 0x60), keepsMSIX: true) {
            $0.capability(0x60, id: 0xFF, next: 0xFF)
        },
        Lie(name: "a capability that runs past the end", fault: .init(.truncated, at: 0xFC), keepsMSIX: true) {
            $0.capability(0x60, id: 0x01, next: 0xFC)
            $0.capability(0xFC, id: 0x10, next: 0x00)
        },
        Lie(name: "MSI whose mask bits are past the end", fault: .init(.truncated, at: 0xF0), keepsMSIX: true) {
            $0.capability(0x60, id: 0x01, next: 0xF0)
            $0.capability(0xF0, id: 0x05, next: 0x00, control: 0x180)
        },
        Lie(name: "a second MSI-X capability", fault: .init(.duplicate, at: 0x60), keepsMSIX: true) {
            $0.msix(0x60, vectors: 1)
        },
        Lie(name: "a table in BAR 6", fault: .init(.reservedValue, at: 0x44), keepsMSIX: false) {
            $0.put32(0x44, 0x2006)
        },
        Lie(name: "pending bits in BAR 7", fault: .init(.reservedValue, at: 0x48), keepsMSIX: false) {
            $0.put32(0x48, 0x2007)
        },
        Lie(name: "pending bits in the table", fault: .init(.overlap, at: 0x40), keepsMSIX: false) {
            $0.put32(0x48, 0x23FA)
        },
        Lie(name: "pin 5", fault: .init(.reservedValue, at: 0x3D), keepsMSIX: true) { $0.bytes[0x3D] = 5 },
    ]

    @Test("what is sound is kept, and the lie is named with its place", arguments: standard)
    func standardLies(lie: Lie) {
        var space = FakeConfiguration()
        space.msix(0x40, next: 0x60)
        space.capability(0x60, id: 0x01, next: 0)
        lie.tell(&space)
        let found = space.parsed
        #expect(found.standardFault == lie.fault)
        #expect((found.msix?.vectors == 64) == lie.keepsMSIX)
        #expect(throws: lie.fault) { try found.requireSound() }
    }

    @Test("reserved codes of MSI's vector count are cut to 32, and more enabled than offered to what is offered")
    func msiCounts() throws {
        var space = FakeConfiguration()
        space.capability(0x40, id: 0x05, next: 0, control: 7 << 1 | 7 << 4)
        #expect(try #require(space.parsed.msi).vectors == 32)
        #expect(space.parsed.standardFault == CapabilityFault(.reservedValue, at: 0x42))
        space.capability(0x40, id: 0x05, next: 0, control: 2 << 1 | 5 << 4)
        #expect(try #require(space.parsed.msi).enabledVectors == 4)
    }

    @Test("a chain through all 48 places is walked to its end, with low pointer bits that are to be ignored")
    func longest() {
        var space = FakeConfiguration(size: 256)
        for offset in stride(from: 0x40, to: 0x100, by: 4) {
            space.capability(offset, id: 0x09, next: offset == 0xFC ? 0 : UInt8(offset + 4) | 3)
        }
        var places: [Int] = []
        let fault = PCIChain.standard(size: 256, headerType: 0, { space.bytes[$0] }) { _, offset in
            places.append(offset)
            return nil
        }
        #expect(fault == nil && places == Array(stride(from: 0x40, to: 0x100, by: 4)))
    }

    @Test("lies of the extended chain")
    func extendedLies() {
        func fault(next: Int, _ more: (inout FakeConfiguration) -> Void = { _ in }) -> CapabilityFault? {
            var space = FakeConfiguration()
            space.bytes[0x06] = 0
            space.extended(0x100, id: 0x000D, next: next)
            more(&space)
            return space.parsed.extendedFault
        }
        #expect(fault(next: 0x100) == CapabilityFault(.loop, at: 0x100))
        #expect(fault(next: 0x80) == CapabilityFault(.pointerOutside, at: 0x80))
        #expect(fault(next: 0x800) { $0.put32(0x800, .max) } == CapabilityFault(.notAnswering, at: 0x800))
        #expect(fault(next: 0xFF0) { $0.extended(0xFF0, id: 0x0010) } == CapabilityFault(.truncated, at: 0xFF0))
        #expect(
            fault(next: 0x200) {
                $0.extended(0x200, id: 0x0010)
                $0.put16(0x20E, 4)
                $0.put16(0x210, 5)
            } == CapabilityFault(.inconsistent, at: 0x200))
        #expect(
            fault(next: 0x200) {
                $0.extended(0x200, id: 0x0001, next: 0x300)
                $0.extended(0x300, id: 0x0001)
            } == CapabilityFault(.duplicate, at: 0x300))
    }

    @Test("nobody there, and a space without a header", arguments: [0, 63, 64, 256])
    func absent(size: Int) {
        let found = PCICapabilities([UInt8](repeating: 0xFF, count: size).span)
        #expect(found.standardFault?.kind == (size < 64 ? .spaceTooSmall : .nobodyAnswers))
        #expect(found.msix == nil && found.extendedFault == nil)
    }

    @Test("random bytes never lead outside, or on for ever", arguments: seeds)
    func randomBytes(seed: UInt64) {
        var dice = Dice(seed)
        for round in 0..<2000 {
            let size = dice.pick([64, 65, 128, 255, 256, 257, 260, 1024, 4096])
            var space = FakeConfiguration(size: max(size, 64))
            // Whole noise finds little; a chain with some noise in it walks further.
            if round % 2 == 0 {
                for index in space.bytes.indices { space.bytes[index] = UInt8(truncatingIfNeeded: dice.next()) }
            } else {
                for _ in 0..<64 {
                    space.bytes[dice.below(space.bytes.count)] = UInt8(
                        dice.pick([0x05, 0x11, 0x10, 0x40, 0x44, 0x80, 0xF8, 0xFC]))
                }
            }
            space.bytes[0] = 0xF4
            space.bytes[0x06] |= 0x10
            var reads = 0
            let found = PCICapabilities(size: space.bytes.count) { offset in
                reads += 1
                return space.bytes[offset]
            }
            #expect(reads < 100 + 48 * 20 + 960 * 40, "seed \(seed), round \(round)")
            if let msi = found.msi { #expect(msi.vectors <= 32 && Int(msi.offset) + msi.length <= 256) }
            if let msix = found.msix { #expect(msix.vectors <= 2048 && msix.table.bar <= 5 && msix.pending.bar <= 5) }
        }
    }
}
