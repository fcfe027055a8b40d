import Exerciser
import IRQMux
import InterruptModel
import Testing

@Suite("ERR and REQ as events with a deadline", .timeLimit(.minutes(5)))
struct NoticeKeeperTests {
    static let tag: UInt64 = 900

    /// A mux with a software device, two MSI-X vectors of it, and a keeper.
    struct Kept: ~Copyable {
        var mux: Mux
        let device: Exerciser
        let id: DeviceID
        let vectors: [VectorID]
        var keeper: NoticeKeeper

        init(error: DeviceNotices.Rule, release: DeviceNotices.Rule) throws {
            var mux = try Mux()
            let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 2))
            let id = try mux.attach(device)
            let vectors = try mux.connect(id, .msix, 0..<2)
            var keeper = NoticeKeeper(id, tag: NoticeKeeperTests.tag, error: error, release: release)
            let found = try keeper.listen(on: &mux)
            #expect(found == [.error, .release])
            self.mux = mux
            self.device = device
            self.id = id
            self.vectors = vectors
            self.keeper = keeper
        }

        /// The next notice; `nil` when none comes.
        mutating func notice(within milliseconds: UInt64 = 2000) throws -> DeviceNotice? {
            for _ in 0..<milliseconds {
                try mux.wait(timeout: 1_000_000)
                while let event = mux.next() {
                    if let notice = keeper.take(event, on: &mux) { return notice }
                }
            }
            return nil
        }
    }

    static let never = DeviceNotices.Rule(time: 3_600_000_000_000, action: .none)
    static let atOnce = DeviceNotices.Rule(time: 0, action: .detach)

    @Test("a host that asks again and again is told of once, and an answer keeps the device")
    func repeats() throws {
        var kept = try Kept(error: Self.never, release: .init(time: 3_600_000_000_000, action: .detach))
        kept.device.raise(Vector(.req, 0))
        guard case .opened(.release, _) = try kept.notice() else { return #expect(Bool(false), "no notice") }
        for _ in 0..<5 {
            kept.device.raise(Vector(.req, 0))
            #expect(try kept.notice(within: 5) == nil)
        }
        #expect(kept.keeper.notices.count(.release) >= 2)
        #expect(kept.keeper.answer(.release, on: &kept.mux))
        #expect(try !kept.mux.isMasked(kept.vectors[0]))
    }

    @Test("a request that nobody answers detaches the device, and its identity is spent")
    func detaches() throws {
        var kept = try Kept(error: Self.never, release: Self.atOnce)
        kept.device.raise(Vector(.req, 0))
        guard case .opened(.release, _) = try kept.notice() else { return #expect(Bool(false), "no notice") }
        #expect(try kept.notice() == .expired(.release, .detach, errno: 0))
        #expect(throws: MuxError.self) { try kept.mux.maskAll(kept.id) }
        #expect(try kept.notice(within: 5) == nil)
    }

    @Test("an error that nobody answers masks every vector, and loses nothing")
    func masks() throws {
        var kept = try Kept(error: .init(time: 0, action: .mask), release: Self.never)
        kept.device.raise(Vector(.err, 0))
        guard case .opened(.error, _) = try kept.notice() else { return #expect(Bool(false), "no notice") }
        #expect(try kept.notice() == .expired(.error, .mask, errno: 0))
        for vector in kept.vectors { #expect(try kept.mux.isMasked(vector)) }
        kept.device.raise(Vector(.msix, 1))
        #expect(try kept.notice(within: 5) == nil)
        #expect(try kept.mux.isPending(kept.vectors[1]))
        try kept.mux.unmask(kept.vectors[1])
        #expect(kept.mux.next()?.vector == Vector(.msix, 1))
    }

    @Test("a notice whose deadline comes before that of an earlier one is not kept waiting for it")
    func earlierDeadline() throws {
        var kept = try Kept(
            error: .init(time: 20_000_000, action: .mask), release: .init(time: 3_600_000_000_000, action: .detach))
        kept.device.raise(Vector(.req, 0))
        guard case .opened(.release, _) = try kept.notice() else { return #expect(Bool(false), "no notice") }
        kept.device.raise(Vector(.err, 0))
        guard case .opened(.error, _) = try kept.notice() else { return #expect(Bool(false), "no notice") }
        #expect(try kept.notice() == .expired(.error, .mask, errno: 0))
        #expect(kept.keeper.answer(.release, on: &kept.mux), "that one waits still")
    }

    @Test("events of others are left alone, and a keeper that stopped hears nothing")
    func others() throws {
        var kept = try Kept(error: Self.never, release: Self.never)
        kept.device.raise(Vector(.msix, 0))
        try kept.mux.wait(timeout: 2_000_000_000)
        let told = kept.mux.next()
        let event = try #require(told)
        #expect(kept.keeper.take(event, on: &kept.mux) == nil && event.vector == Vector(.msix, 0))
        kept.keeper.stop(on: &kept.mux)
        kept.device.raise(Vector(.req, 0))
        #expect(try kept.notice(within: 5) == nil)
        #expect(try kept.keeper.listen(on: &kept.mux).count == 2)
        #expect(throws: MuxError.self) { try kept.keeper.listen(on: &kept.mux) }
    }
}
