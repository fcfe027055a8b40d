import KVM
import Testing

@Suite("GSI allocator") struct GSIAllocatorTests {
    @Test("hands out the lowest free GSI, from 24")
    func lowestFirst() throws {
        var allocator = GSIAllocator()
        #expect(allocator.available == 4072)
        #expect(try allocator.allocate() == 24)
        #expect(try allocator.allocate() == 25)
        try allocator.free(24)
        #expect(try allocator.allocate() == 24)
        #expect(try allocator.allocate() == 26)
        #expect(allocator.available == 4069)
    }

    @Test("never hands out, frees or reserves GSIs 0 to 23")
    func pinsAreTaken() {
        for gsi in UInt32(0)..<24 {
            var allocator = GSIAllocator()
            #expect(allocator.isTaken(gsi))
            expectRefusal(.allocateGSI, 2, .gsiNotAllocated) { () throws(KVMError) in try allocator.free(gsi) }
            expectRefusal(.allocateGSI, 17, .gsiTaken) { () throws(KVMError) in try allocator.reserve(gsi) }
        }
    }

    @Test("runs out after its last GSI, and forecasts it", arguments: [24, 25, 64, 100, 128, 4096] as [UInt32])
    func exhaustion(limit: UInt32) throws {
        var allocator = GSIAllocator(limit: limit)
        let most = Int(limit) - 24
        try allocator.checkRoom(for: most)
        expectRefusal(.allocateGSI, 28, .noGSILeft) { () throws(KVMError) in try allocator.checkRoom(for: most + 1) }
        for expected in 24..<max(24, limit) { #expect(try allocator.allocate() == expected) }
        expectRefusal(.allocateGSI, 28, .noGSILeft) { () throws(KVMError) in try allocator.allocate() }
        expectRefusal(.allocateGSI, 22, .gsiOutOfRange) { () throws(KVMError) in try allocator.reserve(limit) }
        if most > 0 {
            try allocator.free(limit - 1)
            #expect(try allocator.allocate() == limit - 1)
        }
    }

    @Test("a reserved GSI is passed over until it is freed")
    func reserve() throws {
        var allocator = GSIAllocator()
        try allocator.reserve(25)
        expectRefusal(.allocateGSI, 17, .gsiTaken) { () throws(KVMError) in try allocator.reserve(25) }
        #expect(try allocator.allocate() == 24)
        #expect(try allocator.allocate() == 26)
        try allocator.free(25)
        #expect(try allocator.allocate() == 25)
    }

    @Test("a GSI is freed once")
    func doubleFree() throws {
        var allocator = GSIAllocator()
        let gsi = try allocator.allocate()
        try allocator.free(gsi)
        expectRefusal(.allocateGSI, 2, .gsiNotAllocated) { () throws(KVMError) in try allocator.free(gsi) }
        #expect(allocator.available == 4072)
    }

    @Test("against a set of numbers, over random allocations, reservations and frees")
    func property() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(state: seed)
        let limit = UInt32.random(in: 24...300, using: &random)
        var allocator = GSIAllocator(limit: limit)
        var out: Set<UInt32> = []
        for step in 0..<5_000 {
            let gsi = UInt32.random(in: 24...300, using: &random)
            switch UInt8.random(in: 0..<4, using: &random) {
            case 0, 1:
                let lowest = (24..<max(24, limit)).first { !out.contains($0) }
                #expect((try? allocator.allocate()) == lowest, "seed \(seed), step \(step)")
                if let lowest { out.insert(lowest) }
            case 2:
                let reserved = (try? allocator.reserve(gsi)) != nil
                #expect(reserved == (gsi < limit && !out.contains(gsi)), "seed \(seed), step \(step)")
                if reserved { out.insert(gsi) }
            default:
                let freed = (try? allocator.free(gsi)) != nil
                #expect(freed == (out.remove(gsi) != nil), "seed \(seed), step \(step)")
            }
            #expect(allocator.available == Int(limit) - 24 - out.count, "seed \(seed), step \(step)")
        }
    }
}
