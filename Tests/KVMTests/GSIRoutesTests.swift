import KVM
import Testing

/// Any message: where it goes does not matter to a table.
func message(_ data: UInt32) -> GSIRoute { .message(address: 0xfee0_0000, data: data) }

@Suite("GSI routes, a pure value") struct GSIRoutesTests {
    @Test("set, replace and remove keep count of GSIs and of the kernel's entries")
    func counts() throws {
        var routes = GSIRoutes()
        #expect(routes[30] == nil)
        #expect(try routes.set(message(1), for: 30))
        #expect(try routes.set(message(1), for: 30) == false)
        #expect((routes.count, routes.entries) == (1, 1))
        #expect(try routes.set(.pins(IRQChipPins(primaryPIC: 3, ioAPIC: 3)), for: 30))
        #expect((routes.count, routes.entries) == (1, 2))
        let removed = [routes.remove(30), routes.remove(30)]
        #expect(removed == [true, false])
        #expect(routes == GSIRoutes())
    }

    @Test("add refuses a GSI that has a route")
    func gsiTwice() throws {
        var routes = GSIRoutes()
        try routes.add(message(1), for: 24)
        expectRefusal(.route, 17, .gsiTaken) { () throws(KVMError) in try routes.add(message(2), for: 24) }
        #expect(routes[24] == message(1))
    }

    @Test("the defaults are KVM's: PIC and IOAPIC below 16, the IOAPIC below 24")
    func defaults() {
        let routes = GSIRoutes.irqChipDefaults()
        #expect((routes.count, routes.entries) == (24, 40))
        #expect(routes[5] == .pins(IRQChipPins(primaryPIC: 5, ioAPIC: 5)))
        #expect(routes[12] == .pins(IRQChipPins(secondaryPIC: 4, ioAPIC: 12)))
        #expect(routes[23] == .pins(IRQChipPins(ioAPIC: 23)))
        #expect(routes[24] == nil)
    }

    @Test("pins that do not exist and GSIs out of range are refused")
    func ranges() {
        var routes = GSIRoutes()
        for pins in [IRQChipPins(primaryPIC: 8), IRQChipPins(secondaryPIC: 8), IRQChipPins(ioAPIC: 24)] {
            expectRefusal(.route, 22, .pinOutOfRange) { () throws(KVMError) in try routes.set(.pins(pins), for: 1) }
        }
        expectRefusal(.route, 22, .gsiOutOfRange) { () throws(KVMError) in try routes.set(message(1), for: 4096) }
        expectRefusal(.route, 22, .gsiOutOfRange) { () throws(KVMError) in try routes.set(message(1), for: .max) }
        #expect(routes[.max] == nil)
        let removed = routes.remove(.max)
        #expect(removed == false)
        #expect(routes == GSIRoutes())
    }

    @Test("the 4096 limit is forecast: with the default pins, 4056 messages fit beside them")
    func forecast() throws {
        var routes = GSIRoutes.irqChipDefaults()
        #expect(routes.room == 4056)
        try routes.checkRoom(for: 4056)
        expectRefusal(.route, 22, .tooManyRoutes) { () throws(KVMError) in try routes.checkRoom(for: 4057) }
        for gsi in UInt32(24)..<24 + 4056 { try routes.set(message(gsi), for: gsi) }
        #expect((routes.room, routes.entries) == (0, 4096))
        expectRefusal(.route, 22, .tooManyRoutes) { () throws(KVMError) in try routes.set(message(1), for: 4090) }
        // A replacement of the same size still goes.
        #expect(try routes.set(message(7), for: 24))
        // And leaving out pins makes room.
        for gsi in UInt32(0)..<16 { routes.remove(gsi) }
        #expect(routes.room == 32)
    }

    @Test("differences name exactly the GSIs that differ, on random tables")
    func differences() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(state: seed)
        var left = GSIRoutes.irqChipDefaults()
        var right = left
        for _ in 0..<300 {
            let gsi = UInt32.random(in: 0..<80, using: &random)
            let route = message(UInt32.random(in: 0..<3, using: &random))
            switch UInt8.random(in: 0..<3, using: &random) {
            case 0: try left.set(route, for: gsi)
            case 1: try right.set(route, for: gsi)
            default: right.remove(gsi)
            }
        }
        var patched = right
        var named: [UInt32] = []
        try left.collectDifferences(from: right).forEach { gsi, here in
            named.append(gsi)
            if let here { try patched.set(here, for: gsi) } else { patched.remove(gsi) }
        }
        #expect(patched == left, "seed \(seed)")
        #expect(named.allSatisfy { left[$0] != right[$0] }, "seed \(seed)")
        #expect(named == named.sorted(), "seed \(seed)")
    }
}

extension GSIRoutes {
    fileprivate func collectDifferences(from other: GSIRoutes) -> [(UInt32, GSIRoute?)] {
        var all: [(UInt32, GSIRoute?)] = []
        forEachDifference(from: other) { gsi, here, _ in all.append((gsi, here)) }
        return all
    }
}
