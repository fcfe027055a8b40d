import InterruptModel
import Testing

@Suite("The guest's MSI-X table: registers")
struct MSIXRegisterTests {
    @Test("out of reset every vector is masked, and everything else reads 0 (cloud-hypervisor#1744)")
    func resetState() {
        var table = MSIXTable(count: 70)
        #expect(table.messageControl == 69)
        for vector in 0..<70 as Range<UInt64> {
            #expect(table.readTable(offset: vector * 16, width: 8) == 0)
            #expect(table.readTable(offset: vector * 16 + 8, width: 8) == 1 << 32)
            #expect(table.isMasked(UInt32(vector)))
        }
        #expect(table.readPending(offset: 0, width: 8) == 0)
        #expect(table.readPending(offset: 8, width: 8) == 0)
        #expect(!table.hasWork)
    }

    @Test("a DWORD and a QWORD read back what was written, but for reserved bits", arguments: [4, 8])
    func readBack(width: Int) {
        var table = MSIXTable(count: 3)
        for offset in stride(from: 0 as UInt64, to: 48, by: width) {
            table.writeTable(offset: offset, width: width, .max)
        }
        for vector in 0..<3 as Range<UInt64> {
            #expect(table.readTable(offset: vector * 16, width: 4) == 0xffff_fffc, "address bits 1:0 read 0")
            #expect(table.readTable(offset: vector * 16 + 4, width: 4) == 0xffff_ffff)
            #expect(table.readTable(offset: vector * 16 + 8, width: 4) == 0xffff_ffff)
            #expect(
                table.readTable(offset: vector * 16 + 12, width: 4) == 1, "bits 31:1 of vector control are reserved")
        }
    }

    @Test(
        "an access of another width, misaligned, across a border or out of range reads ones and writes nothing",
        arguments: [
            (0, 1), (0, 2), (0, 3), (0, 0), (0, -1), (0, 16), (1, 4), (2, 4), (4, 8), (12, 8), (30, 4), (28, 8),
            (32, 4),
            (32, 8), (36, 4), (.max, 4), (.max - 3, 4), (.max - 7, 8), (1 << 63, 8),
        ] as [(UInt64, Int)])
    func illegal(offset: UInt64, width: Int) {
        var table = MSIXTable(count: 2)
        let untouched = table
        let isWork = table.writeTable(offset: offset, width: width, 0)
        #expect(!isWork)
        let ones = width <= 0 ? 0 : width >= 8 ? UInt64.max : (1 << UInt64(width * 8)) - 1
        #expect(table.readTable(offset: offset, width: width) == ones)
        #expect(table.statistics.illegalAccesses == 2)
        for vector in 0..<2 as Range<UInt32> { #expect(table.message(vector) == untouched.message(vector)) }
        #expect(table.readTable(offset: 12, width: 4) == 1)
    }

    @Test("the pending bits are read-only QWORDs, and vectors that are not there read 0")
    func pendingBits() {
        var table = MSIXTable(count: 66)
        table.enable()
        for vector in [0, 31, 32, 63, 64, 65] as [UInt32] { table.setPending(vector) }
        #expect(table.readPending(offset: 0, width: 8) == 0x8000_0001_8000_0001)
        #expect(table.readPending(offset: 0, width: 4) == 0x8000_0001)
        #expect(table.readPending(offset: 4, width: 4) == 0x8000_0001)
        #expect(table.readPending(offset: 8, width: 8) == 3)
        #expect(
            table.readPending(offset: 8, width: 8, kept: .max) == 3, "kept bits beyond the last vector are not there")
        #expect(table.readPending(offset: 12, width: 4) == 0)
        #expect(table.readPending(offset: 16, width: 4) == 0xffff_ffff, "out of range")
        #expect(table.readPending(offset: 1, width: 1) == 0xff)
        #expect(table.firstVector(ofPendingAt: 8) == 64)
    }

    @Test("bits that the sink keeps are told for masked vectors and for no other")
    func keptBits() {
        var table = MSIXTable(count: 4)
        table.enable()
        table.setMask(1, false)
        #expect(table.readPending(offset: 0, width: 8, kept: 0b1111) == 0b1101)
        table.enable(functionMasked: true)
        #expect(table.readPending(offset: 0, width: 8, kept: 0b1111) == 0b1111)
        table.disable()
        #expect(table.readPending(offset: 0, width: 8, kept: 0b1111) == 0)
    }

    @Test("only enable and function mask of message control can be written")
    func messageControl() {
        var table = MSIXTable(count: 2048)
        table.writeMessageControl(0xffff)
        #expect(table.messageControl == 0xc7ff)
        table.writeMessageControl(0x3800)
        #expect(table.messageControl == 0x07ff)
    }
}

@Suite("The guest's MSI-X table: what has to be done")
struct MSIXOperationTests {
    @Test("MSI-X on with zero vectors enables the device and uses nothing")
    func zeroVectors() {
        var table = MSIXTable(count: 8)
        table.enable()
        #expect(table.operations() == [.enable(vectors: 0)])
        #expect(table.inUse == 0)
        table.disable()
        #expect(table.operations() == [.disable])
    }

    @Test("a vector comes into use when first unmasked, not when MSI-X is enabled (cloud-hypervisor#7079, #7940)")
    func firstUnmask() {
        var table = MSIXTable(count: 4)
        for vector in 0..<4 as Range<UInt32> { table.program(vector, message(vector)) }
        table.enable()
        #expect(table.operations() == [.enable(vectors: 0)])
        table.setMask(2, false)
        #expect(table.operations() == [.use(vector: 2, message: message(2))])
        #expect(table.isInUse(2) && !table.isInUse(1))
    }

    @Test("entries unmasked before MSI-X is enabled come into use with it, in ascending order")
    func unmaskedBefore() {
        var table = MSIXTable(count: 200)
        for vector in [130, 5, 64] as [UInt32] {
            table.program(vector, message(vector))
            table.setMask(vector, false)
        }
        #expect(!table.hasWork)
        table.enable()
        #expect(
            table.operations() == [
                .enable(vectors: 0), .use(vector: 5, message: message(5)), .use(vector: 64, message: message(64)),
                .use(vector: 130, message: message(130)),
            ])
    }

    @Test("entries rewritten without change are no work (cloud-hypervisor#4273)")
    func rewritten() {
        var table = MSIXTable(count: 2)
        table.program(0, message(0))
        table.enable()
        table.setMask(0, false)
        _ = table.operations()
        for _ in 0..<10 {
            table.program(0, message(0))
            table.setMask(0, false)
            table.enable()
            table.program(1, message(1))
            table.setMask(1, true)
        }
        #expect(!table.hasWork)
        #expect(table.operations().isEmpty)
        #expect(table.statistics.unchangedWrites >= 60)
    }

    @Test("a masked entry that gets its old message back is unmasked without a change of route (linux 515a0c79e796)")
    func changedAndBack() {
        var table = MSIXTable(count: 1)
        table.program(0, message(0))
        table.enable()
        table.setMask(0, false)
        table.setMask(0, true)
        _ = table.operations()
        table.setMask(0, true)
        table.program(0, message(0, generation: 1))
        #expect(!table.hasWork, "what a masked vector's message is concerns nobody yet")
        table.program(0, message(0))
        table.setMask(0, false)
        #expect(table.operations() == [.use(vector: 0, message: message(0))])
        table.setMask(0, true)
        #expect(table.operations() == [.mask(vector: 0)])
        table.program(0, message(0, generation: 1))
        table.program(0, message(0))
        table.setMask(0, false)
        #expect(table.operations() == [.unmask(vector: 0)])
    }

    @Test("mask, program, unmask of a vector in use: mask, then message before unmask")
    func affinityChange() {
        var table = MSIXTable(count: 1)
        table.program(0, message(0))
        table.enable()
        table.setMask(0, false)
        _ = table.operations()
        table.setMask(0, true)
        #expect(table.operations() == [.mask(vector: 0)])
        table.program(0, message(0, generation: 3))
        #expect(table.operations().isEmpty)
        table.setMask(0, false)
        #expect(
            table.operations() == [.message(vector: 0, message: message(0, generation: 3)), .unmask(vector: 0)])
    }

    @Test("a message that changes while the vector is live is carried out at once")
    func liveChange() {
        var table = MSIXTable(count: 1)
        table.program(0, message(0))
        table.enable()
        table.setMask(0, false)
        _ = table.operations()
        table.writeTable(offset: 8, width: 4, 77)
        #expect(
            table.operations() == [
                .message(vector: 0, message: InterruptMessage(address: message(0).address, data: 77))
            ])
    }

    @Test("a QWORD changes data and mask at once: no message is seen half written")
    func quadWord() {
        var table = MSIXTable(count: 1)
        table.writeTable(offset: 0, width: 8, 0xfee0_1000)
        table.enable()
        table.writeTable(offset: 8, width: 8, 0x55)
        #expect(
            table.operations() == [
                .enable(vectors: 0), .use(vector: 0, message: InterruptMessage(address: 0xfee0_1000, data: 0x55)),
            ])
        table.writeTable(offset: 8, width: 8, 0x66 | 1 << 32)
        #expect(table.operations() == [.mask(vector: 0)])
    }

    @Test("the function mask masks what is in use and nothing else, and gives it back (libvfio-user#807)")
    func functionMask() {
        var table = MSIXTable(count: 4)
        table.enable()
        for vector in 0..<3 as Range<UInt32> { table.setMask(vector, false) }
        table.setMask(1, true)
        _ = table.operations()
        table.setMask(1, false)
        table.setMask(1, true)
        table.enable(functionMasked: true)
        #expect(table.operations() == [.mask(vector: 0), .mask(vector: 2)])
        table.setMask(3, false)
        table.setMask(2, true)
        #expect(table.operations().isEmpty)
        table.enable()
        #expect(
            table.operations() == [.unmask(vector: 0), .use(vector: 3, message: InterruptMessage(address: 0, data: 0))])
    }

    @Test("what a function mask does to several vectors is asked for at once, and one by one when that is refused")
    func together() {
        var table = MSIXTable(count: 130)
        table.enable(functionMasked: true)
        for vector in [0, 1, 64, 129] as [UInt32] {
            table.program(vector, message(vector))
            table.setMask(vector, false)
        }
        #expect(table.together().batches.isEmpty)
        table.enable()
        var told = table.together()
        #expect(told.batches == [Recorder.Batch(kind: .prepare, vectors: [0b11, 1, 0b10])])
        #expect(told.operations == [0, 1, 64, 129].map { .use(vector: $0, message: message($0)) })
        table.setMask(1, true)
        #expect(table.operations() == [.mask(vector: 1)], "one is no batch")
        table.enable(functionMasked: true)
        #expect(table.together().batches == [Recorder.Batch(kind: .mask, vectors: [1, 1, 0b10])])
        // What has something more to be told of is told by itself.
        table.program(64, message(64, generation: 1))
        #expect(table.raise(129) == .pending)
        table.setMask(1, false)
        table.enable()
        told = table.together()
        #expect(told.batches == [Recorder.Batch(kind: .unmask, vectors: [0b11, 0, 0b10])])
        #expect(
            told.operations == [
                .message(vector: 64, message: message(64, generation: 1)), .unmask(vector: 64),
                .deliver(vector: 129, message: message(129)),
            ])
        table.enable(functionMasked: true)
        #expect(table.operations { $0 == .mask(vector: 64) } == [0, 1, 129].map { .mask(vector: $0) })
        #expect(table.refused == 1)
    }

    @Test("masked and unmasked again before anybody looked is no work at all")
    func cancelled() {
        var table = MSIXTable(count: 1)
        table.enable()
        table.setMask(0, false)
        _ = table.operations()
        for _ in 0..<1000 {
            table.setMask(0, true)
            table.setMask(0, false)
        }
        #expect(table.operations().isEmpty)
        #expect(table.statistics.maskChanges == 2001)
    }

    @Test("switched off and on before anybody looked: everything is begun anew")
    func offAndOn() {
        var table = MSIXTable(count: 2)
        table.enable()
        table.setMask(1, false)
        _ = table.operations()
        table.disable()
        table.enable()
        let zeros = InterruptMessage(address: 0, data: 0)
        #expect(table.operations() == [.disable, .enable(vectors: 0), .use(vector: 1, message: zeros)])
    }

    @Test("a reset masks everything, forgets messages and pending bits, and says disable once")
    func reset() {
        var table = MSIXTable(count: 2)
        table.program(0, message(0))
        table.enable()
        table.setMask(0, false)
        table.setPending(1)
        _ = table.operations()
        table.reset()
        #expect(table.operations() == [.disable])
        table.reset()
        #expect(table.operations().isEmpty)
        #expect(table.message(0) == InterruptMessage(address: 0, data: 0))
        table.enable()
        #expect(table.operations() == [.enable(vectors: 0)])
        #expect(!table.isPending(1) && table.isMasked(0))
    }
}

@Suite("The guest's MSI-X table: pending bits and refusals")
struct MSIXPendingTests {
    @Test("raised while masked sets the pending bit, and fires on unmask, once (libvfio-user#806)")
    func pendingOnUnmask() {
        var table = MSIXTable(count: 2)
        table.program(1, message(1))
        table.enable()
        _ = table.operations()
        for _ in 0..<3 { #expect(table.raise(1) == .pending) }
        #expect(table.readPending(offset: 0, width: 4) == 2)
        #expect(!table.hasWork)
        table.setMask(1, false)
        #expect(
            table.operations() == [
                .use(vector: 1, message: message(1)), .deliver(vector: 1, message: message(1)),
            ])
        #expect(table.readPending(offset: 0, width: 4) == 0)
        #expect(table.raise(1) == .send(message(1)))
        table.enable(functionMasked: true)
        #expect(table.raise(1) == .pending)
        table.enable()
        #expect(table.operations() == [.deliver(vector: 1, message: message(1))], "masked and unmasked cancel out")
    }

    @Test("an interrupt that was satisfied otherwise pends no more")
    func cleared() {
        var table = MSIXTable(count: 1)
        table.enable()
        _ = table.raise(0)
        table.clearPending(0)
        table.setMask(0, false)
        #expect(table.operations().count == 2)
    }

    @Test("nothing is raised while MSI-X is off, for vectors that are not there, or kept when it is switched off")
    func off() {
        var table = MSIXTable(count: 1)
        #expect(table.raise(0) == .disabled)
        table.enable()
        #expect(table.raise(1) == .disabled)
        #expect(table.raise(.max) == .disabled)
        #expect(table.raise(0) == .pending)
        table.disable()
        table.enable()
        table.setMask(0, false)
        #expect(table.operations().count == 2, "enable, use, and nothing to deliver")
    }

    @Test("a refused use leaves the vector unused and pending, and is asked for again on unmask or retry (osv#1465)")
    func refusedUse() {
        var table = MSIXTable(count: 4)
        table.enable()
        _ = table.raise(2)
        for vector in 0..<4 as Range<UInt32> { table.setMask(vector, false) }
        let done = table.operations { operation in
            if case .use(let vector, _) = operation { vector >= 2 } else { false }
        }
        #expect(done.count == 3)
        #expect(table.refused == 2 && table.isRefused(2) && table.isRefused(3))
        #expect(table.isInUse(0) && !table.isInUse(2), "a refusal touches no other vector")
        #expect(table.isPending(2))
        #expect(!table.hasWork, "a refusal is not asked for again by itself")
        table.setMask(3, true)
        #expect(table.operations().isEmpty)
        #expect(table.refused == 1, "nothing is wanted of a vector that the guest masked")
        let isMore = table.retry()
        #expect(isMore)
        let zeros = InterruptMessage(address: 0, data: 0)
        #expect(table.operations() == [.use(vector: 2, message: zeros), .deliver(vector: 2, message: zeros)])
        let isMoreStill = table.retry()
        #expect(table.refused == 0 && !isMoreStill)
    }

    @Test("a refused unmask keeps the vector held, a refused message keeps the old one")
    func refusedSteps() {
        var table = MSIXTable(count: 1)
        table.program(0, message(0))
        table.enable()
        table.setMask(0, false)
        _ = table.operations()
        table.setMask(0, true)
        _ = table.operations()
        table.program(0, message(0, generation: 1))
        table.setMask(0, false)
        #expect(
            table.operations { if case .message = $0 { true } else { false } }.isEmpty, "no unmask without its message")
        table.retry()
        let changed = message(0, generation: 1)
        #expect(
            table.operations { if case .unmask = $0 { true } else { false } } == [.message(vector: 0, message: changed)]
        )
        table.retry()
        #expect(table.operations() == [.unmask(vector: 0)])
    }

    @Test("a refused enable uses no vector until it is granted")
    func refusedEnable() {
        var table = MSIXTable(count: 1)
        table.enable()
        table.setMask(0, false)
        #expect(table.operations { _ in true }.isEmpty)
        #expect(table.inUse == 0)
        table.retry()
        #expect(table.operations().count == 2)
    }
}
