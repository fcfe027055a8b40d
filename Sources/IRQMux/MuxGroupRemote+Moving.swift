internal import CKernel

// A vector goes from loop to loop, one step after the other: see Mux+Moving.
extension MuxGroupRemote {
    /// Moves a vector to another loop while signals arrive: none is lost and none is delivered twice. What was
    /// signalled and not delivered is delivered on the new loop, once; route, mask, account and an INTx in service go
    /// along, and so do the irqfd of a route into the guest, the way a line is served by, and what is measured. The
    /// device is not asked; what goes past the loop goes on. A watchdog begins anew. No effect when it is there.
    ///
    /// Takes some wake-ups of both loops, about 0.1 ms; more with thousands of vectors under storm.
    /// - Throws: `EINVAL` for a loop there is not; `ENOENT` when it was disconnected; `ENOSPC` when the other mux is
    ///   full or has too few places for devices or fan-out targets; `EXDEV` when its route leads into a guest that was
    ///   attached to its own loop only, not to the group; `EMFILE`; as `MuxRemote.perform`. The vector then stays where
    ///   it is, undisturbed.
    public func move(_ vector: GroupVectorID, to loop: Int) throws(MuxError) {
        try exclusively { () throws(MuxError) in
            try check(loop)
            try move(vector.place, try locate(vector), to: loop)
        }
    }

    /// How many vectors have been moved.
    public var moves: UInt64 { lock.withLock { moved } }

    func bringHome(_ place: Int, _ vector: VectorRecord) throws(MuxError) {
        guard let device = devices[vector.device] else { return }
        try move(place, vector, to: device.home)
    }

    private func move(_ place: Int, _ vector: VectorRecord, to loop: Int) throws(MuxError) {
        guard vector.loop != loop else { return }
        let id = vector.id
        let (eventfd, isINTx) = try command(vector.loop) { (mux) throws(MuxError) in try mux.descriptor(of: id) }
        let device = try devicePlace(vector.device, on: loop)
        let reservation = try command(loop) { (mux) throws(MuxError) in
            try mux.reserve(eventfd, isINTx: isINTx, device: device)
        }
        do throws(MuxError) {
            let admitted = try transfer(id, from: vector.loop, to: loop, reservation)
            vectors[place]?.loop = loop
            vectors[place]?.id = admitted
            moved += 1
        } catch {
            try? command(loop) { (mux) throws(MuxError) in mux.cancel(reservation) }
            throw error
        }
    }

    private func transfer(
        _ id: VectorID, from origin: Int, to loop: Int, _ reservation: Mux.Reservation
    ) throws(MuxError) -> VectorID {
        var moving = try command(origin) { (mux) throws(MuxError) in try mux.beginMove(id) }
        var prepared: Mux.Passport?
        while prepared == nil {
            let before = moving
            (moving, prepared) = try command(origin) { (mux) throws(MuxError) -> (Mux.Moving, Mux.Passport?) in
                var moving = before
                let passport = try mux.continueMove(id, &moving)
                return (moving, passport)
            }
        }
        guard let passport = prepared else { return id }
        let done = moving
        let admitted: VectorID
        do throws(MuxError) {
            admitted = try command(loop) { (mux) throws(MuxError) in try mux.admit(passport, reservation) }
        } catch {
            takeBack(passport, done, on: origin)
            throw error
        }
        // When the old loop has stopped meanwhile, its table is gone, and the place with it.
        try? command(origin) { (mux) throws(MuxError) in mux.completeMove(done) }
        return admitted
    }

    private func takeBack(_ passport: Mux.Passport, _ moving: Mux.Moving, on origin: Int) {
        do throws(MuxError) {
            try command(origin) { (mux) throws(MuxError) in mux.cancelMove(moving, passport) }
        } catch {
            // Neither loop runs any more: nobody else knows the descriptor.
            _ = irqmux_close(passport.entry.eventfd)
        }
    }

    private func devicePlace(_ device: Int, on loop: Int) throws(MuxError) -> Int {
        guard let record = devices[device] else {
            throw MuxError("moving a vector", errno: ENOENT, remedy: "its device was detached")
        }
        if let place = record.places[loop] { return place }
        let carried = Carried(device: record.device)
        let place = try command(loop) { (mux) throws(MuxError) in try mux.receive(carried.device) }
        devices[device]?.places[loop] = place
        return place
    }
}
