// Carrying out the work list: arming and cancelling requests, and what becomes of a source whose request ended.
extension EventLoop {
    /// Writes the requests that the work list asks for. What does not fit the submission queue is sent ahead.
    @inline(never)
    mutating func flushWork() {
        while firstWork != .max {
            let index = firstWork
            let following = sources[index].link
            guard carryOut(index) else { return }  // the queue is full and the kernel takes no more: next time
            sources[index].listed = false
            firstWork = following
            if following == .max { lastWork = .max }
            if sources[index].phase == .arming && sources[index].removed { free(index) }
        }
    }

    /// False when there was no room for the request.
    private mutating func carryOut(_ index: UInt32) -> Bool {
        switch sources[index].phase {
        case .arming where sources[index].removed: return true
        case .arming where readsDirectly(index) && direct.insert(index, sources[index].descriptor):
            sources[index].phase = .direct
            return true
        case .arming: return submitArming(index)
        case .cancelling where sources[index].cancelDue: return submitCancel(index)
        case .free, .idle, .armed, .cancelling, .direct: return true
        }
    }

    /// Frees the places of sources that were removed before the kernel heard of them, without waiting for the flush.
    mutating func reclaim() {
        var index = firstWork
        (firstWork, lastWork) = (.max, .max)
        while index != .max {
            let following = sources[index].link
            sources[index].listed = false
            if sources[index].phase == .arming && sources[index].removed { free(index) } else { enqueue(index) }
            index = following
        }
    }

    private mutating func submitArming(_ index: UInt32) -> Bool {
        // Until the READ has ended, nothing was read: see `readAhead`.
        sources[index].counter = 0
        guard makeRoom(backend.arm(index, sources)) || backend.arm(index, sources) else { return false }
        sources[index].phase = .armed
        return true
    }

    private mutating func submitCancel(_ index: UInt32) -> Bool {
        let generation = sources[index].generation
        guard makeRoom(backend.cancel(index, generation: generation)) || backend.cancel(index, generation: generation)
        else { return false }
        sources[index].cancelDue = false
        return true
    }

    /// Arms the wake-up's one-shot READ unless it is armed.
    mutating func armWakeUp() {
        if wakeUpArmed { return }
        let wake = control.wake.number
        wakeUpArmed = makeRoom(backend.armWakeUp(wake, wakeUpBuffer)) || backend.armWakeUp(wake, wakeUpBuffer)
    }

    /// Sends the submission queue ahead when it was too full for a request.
    private mutating func makeRoom(_ submitted: Bool) -> Bool {
        if !submitted {
            statistics.systemCalls &+= 1
            _ = backend.enter(sources)
        }
        return submitted
    }
}
