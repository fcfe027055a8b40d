import InterruptModel
import Testing

@Suite("Errors and requests to release a device")
struct NoticeTests {
    static func notices() -> DeviceNotices {
        DeviceNotices(
            error: .init(time: 100, action: .mask), release: .init(time: 50, action: .detach))
    }

    @Test("a request that fires repeatedly is one event, and its deadline stays")
    func repeats() {
        var notices = Self.notices()
        #expect(notices.signal(.release, at: 10) == .opened(.release, deadline: 60))
        for moment in 11..<59 { #expect(notices.signal(.release, at: UInt64(moment)) == nil) }
        #expect(notices.nextDeadline == 60 && notices.expire(at: 59) == nil)
        #expect(notices.expire(at: 60) == .expired(.release, .detach))
        #expect(notices.expire(at: 1000) == nil && notices.signal(.release, at: 61) == nil)
        #expect(notices.count(.release) == 50 && notices.nextDeadline == nil)
    }

    @Test("an answer in time takes the default action away, and one that comes late is told so")
    func answer() {
        var notices = Self.notices()
        _ = notices.signal(.release, at: 0)
        #expect(notices.answer(.release) && !notices.answer(.release))
        #expect(notices.expire(at: 1000) == nil && notices.signal(.release, at: 1001) == nil)
        notices.rearm(.release)
        #expect(notices.signal(.release, at: 2000) == .opened(.release, deadline: 2050))
        #expect(notices.expire(at: 3000) != nil && !notices.answer(.release))
    }

    @Test("an error after an answered one is a new event, and one after an open one is the same")
    func errors() {
        var notices = Self.notices()
        #expect(notices.signal(.error, at: 0) == .opened(.error, deadline: 100))
        #expect(notices.signal(.error, count: 3, at: 1) == nil)
        notices.answer(.error)
        #expect(notices.signal(.error, at: 200) == .opened(.error, deadline: 300))
        #expect(notices.expire(at: 300) == .expired(.error, .mask))
        #expect(notices.signal(.error, at: 400) == .opened(.error, deadline: 500))
        #expect(notices.count(.error) == 6)
    }

    @Test("both have deadlines of their own, and each is told")
    func both() {
        var notices = Self.notices()
        _ = notices.signal(.error, at: 0)
        _ = notices.signal(.release, at: 0)
        #expect(notices.nextDeadline == 50)
        #expect(notices.expire(at: 500) == .expired(.error, .mask))
        #expect(notices.expire(at: 500) == .expired(.release, .detach) && notices.expire(at: 500) == nil)
    }

    @Test("a deadline past the end of time is the end of time")
    func overflow() {
        var notices = DeviceNotices(release: .init(time: .max, action: .none))
        #expect(notices.signal(.release, at: 5) == .opened(.release, deadline: .max))
        #expect(!notices.isOpen(.error) && notices.isOpen(.release))
    }
}
