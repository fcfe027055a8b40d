import InterruptModel
import Testing

/// What the operations made of the world, and everything about them that is not allowed.
private struct World: MessageSink {
    struct Vector: Equatable {
        var message: InterruptMessage
        var isHeld = false
    }
    var isEnabled = false
    var vectors: [UInt32: Vector] = [:]
    var delivered: [UInt32: Int] = [:]
    var complaints: [String] = []
    var refusesOneIn: UInt64 = 0
    var random: SplitMix

    mutating func perform(_ operation: MessageOperation) -> Bool {
        if refusesOneIn > 0, random.next() % refusesOneIn == 0, operation != .disable { return false }
        return performOne(operation)
    }

    private mutating func performOne(_ operation: MessageOperation) -> Bool {
        switch operation {
        case .enable:
            if isEnabled { complaints.append("enabled twice") }
            isEnabled = true
        case .disable:
            if !isEnabled { complaints.append("disabled twice") }
            isEnabled = false
            vectors = [:]
        case .use(let vector, let message):
            if !isEnabled || vectors[vector] != nil { complaints.append("\(operation) out of place") }
            vectors[vector] = Vector(message: message)
        case .mask(let vector):
            if vectors[vector]?.isHeld != false { complaints.append("\(operation) out of place") }
            vectors[vector]?.isHeld = true
        case .message(let vector, let message):
            if vectors[vector] == nil || vectors[vector]?.message == message {
                complaints.append("\(operation) changes nothing")
            }
            vectors[vector]?.message = message
        case .unmask(let vector):
            if vectors[vector]?.isHeld != true { complaints.append("\(operation) out of place") }
            vectors[vector]?.isHeld = false
        case .deliver(let vector, let message):
            if vectors[vector] != Vector(message: message) { complaints.append("\(operation) out of place") }
            delivered[vector, default: 0] += 1
        }
        return true
    }

    /// Carries several out as each by itself, at times.
    mutating func perform(_ batch: MessageBatch, of vectors: [UInt64]) -> Bool {
        let numbers = (0..<UInt32(vectors.count * 64)).filter { vectors[Int($0 >> 6)] & 1 << UInt64($0 & 63) != 0 }
        if numbers.count < 2 { complaints.append("\(batch) of \(numbers)") }
        guard batch != .prepare else {
            if numbers.contains(where: { self.vectors[$0] != nil }) { complaints.append("prepared what is in use") }
            return false
        }
        if random.next() % 3 == 0 { return false }
        for number in numbers {
            let isDone = performOne(batch == .mask ? .mask(vector: number) : .unmask(vector: number))
            if !isDone { complaints.append("\(batch) of \(number)") }
        }
        return true
    }
}

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}

@Suite("Random guests against a small world that keeps what it was told")
struct MessagePropertyTests {
    @Test(
        "whatever a guest writes to its MSI-X, the world agrees after each step, and no step is superfluous",
        arguments: 1...60 as ClosedRange<UInt64>)
    func msix(seed: UInt64) {
        var random = SplitMix(state: seed)
        let count = UInt32.random(in: 1...70, using: &random)
        var table = MSIXTable(count: count)
        var world = World(refusesOneIn: seed % 3 == 0 ? 5 : 0, random: SplitMix(state: ~seed))
        var raised: [UInt32: Int] = [:]
        for step in 0..<400 {
            let vector = UInt32.random(in: 0..<count, using: &random)
            switch UInt32.random(in: 0..<12, using: &random) {
            case 0: table.writeMessageControl(UInt16.random(in: 0...3, using: &random) << 14)
            case 1, 2: table.enable()
            case 3...5: table.setMask(vector, Bool.random(using: &random))
            case 6: table.program(vector, message(vector, generation: UInt32.random(in: 0...1, using: &random)))
            case 7:
                let width = Int.random(in: -1...9, using: &random)
                let offset = UInt64.random(in: 0...table.tableSize + 16, using: &random)
                table.writeTable(offset: offset, width: width, random.next())
            case 8, 9: if table.raise(vector) == .pending { raised[vector, default: 0] += 1 }
            case 10: if UInt32.random(in: 0..<20, using: &random) == 0 { table.reset() }
            default: table.retry()
            }
            if Bool.random(using: &random) { table.synchronise(&world) }
            guard world.complaints.isEmpty else {
                Issue.record("seed \(seed), step \(step): \(world.complaints)")
                return
            }
        }
        // Everything is granted at last.
        world.refusesOneIn = 0
        table.retry()
        table.synchronise(&world)
        #expect(world.isEnabled == table.isEnabled && table.refused == 0, "seed \(seed)")
        for vector in 0..<count {
            #expect(table.isInUse(vector) == (world.vectors[vector] != nil), "seed \(seed)")
            #expect(world.delivered[vector, default: 0] <= raised[vector, default: 0], "seed \(seed): invented")
            guard !table.isMasked(vector) else {
                #expect(world.vectors[vector]?.isHeld != false, "seed \(seed): \(vector) is masked")
                continue
            }
            #expect(world.vectors[vector] == World.Vector(message: table.message(vector)), "seed \(seed): \(vector)")
            #expect(!table.isPending(vector), "seed \(seed): nothing pends that may be delivered")
        }
        #expect(world.complaints.isEmpty, "seed \(seed)")
        let before = table
        table.synchronise(&world)
        #expect(table == before, "seed \(seed): there was nothing left to do")
    }

    @Test(
        "whatever a guest writes to its MSI, the world agrees after each step, and no step is superfluous",
        arguments: 1...60 as ClosedRange<UInt64>)
    func msi(seed: UInt64) {
        var random = SplitMix(state: seed)
        let layout = MSIRegisters.Layout(
            vectors: 1 << UInt32.random(in: 0...5, using: &random), is64Bit: Bool.random(using: &random),
            isMaskable: Bool.random(using: &random))
        var registers = MSIRegisters(layout)
        var world = World(refusesOneIn: seed % 3 == 0 ? 5 : 0, random: SplitMix(state: ~seed))
        for step in 0..<400 {
            let offset = Int.random(in: 0...28, using: &random)
            switch UInt32.random(in: 0..<8, using: &random) {
            case 0: registers.enable(1 << UInt32.random(in: 0...5, using: &random))
            case 1: registers.write(offset: 2, width: 2, UInt32(truncatingIfNeeded: random.next()))
            case 2: registers.write(offset: registers.maskOffset, width: 4, UInt32(truncatingIfNeeded: random.next()))
            case 3, 4: registers.write(offset: offset, width: 1 << Int.random(in: 0...3, using: &random), .max)
            case 5: _ = registers.raise(UInt32.random(in: 0...33, using: &random))
            case 6: if UInt32.random(in: 0..<20, using: &random) == 0 { registers.reset() }
            default: registers.retry()
            }
            if Bool.random(using: &random) { registers.synchronise(&world) }
            guard world.complaints.isEmpty else {
                Issue.record("seed \(seed), step \(step): \(world.complaints)")
                return
            }
        }
        world.refusesOneIn = 0
        registers.retry()
        registers.synchronise(&world)
        #expect(world.isEnabled == registers.isEnabled && registers.refused == 0, "seed \(seed)")
        for vector in 0..<32 as Range<UInt32> {
            #expect(registers.isInUse(vector) == (world.vectors[vector] != nil), "seed \(seed)")
            guard !registers.isMasked(vector) else {
                #expect(world.vectors[vector]?.isHeld != false, "seed \(seed): \(vector) is masked")
                continue
            }
            #expect(
                world.vectors[vector] == World.Vector(message: registers.message(vector)), "seed \(seed): \(vector)")
        }
        #expect(world.complaints.isEmpty, "seed \(seed)")
    }
}
