/// In which order a mux hands out vectors that are ready at the same time.
///
/// With any schedule but `arrival`, what has come is sorted before something is handed out, and a vector takes one turn
/// for all that came since its last one: the others are coalesced into it. After eight events, or the budget, the mux
/// looks what has come meanwhile, without sleeping: that is when `Mux.next` returns `nil` although more is ready.
/// Events of timers and of sources of one's own come first. INTx takes turns like the others.
public enum Schedule: Equatable, Sendable {
    /// As they come: the least work, and no protection. A loop that lets a vector in for each of its notifications.
    case arrival
    /// A vector is handed out only when none of a lower `Mux.setPriority` is ready; in order of arrival within one.
    ///
    /// A vector of the lowest number in use waits for at most eight events of others of higher numbers. One of a higher
    /// number may wait for ever: that is what strict means.
    case strict
    /// Deficit round robin in events: a vector that is always ready is handed out `Mux.setWeight` times in a row, with
    /// a look between, before the next has its turn.
    ///
    /// A vector waits for at most the sum of the others' weights, and eight events before it is seen.
    case weighted
    /// One turn each, in order of arrival, and a look after `budget` events (1 and more).
    ///
    /// A vector waits for at most one event of each of the others, and `budget` before it is seen.
    case roundRobin(budget: Int)
}
