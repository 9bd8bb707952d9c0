// SessionAPI.swift - the section "Session" of cabochon.h.

import CCabochon
import Cabochon

@c @implementation
public func cabochon_session_options_init(_ options: UnsafeMutablePointer<cabochon_session_options>?, _ size: Int) {
    initialise(options, size)
}

@c @implementation
public func cabochon_session_create(
    _ model: OpaquePointer?, _ options: UnsafePointer<cabochon_session_options>?,
    _ out_session: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(giving: out_session, "out_session", error) { () throws(CabochonError) in
        let model = try ownModel(model)
        let given = try CabochonABI.options(options, "options")
        try checkFlags(given.reserved_, known: 0, "options.reserved_")
        return SessionHandle(
            try model.model.makeSession(contextLength: Int(given.context_length)), engine: model.engine)
    }
}

@c @implementation
public func cabochon_session_retain(_ session: OpaquePointer?) -> OpaquePointer? {
    HandleTable.shared.retain(session, as: SessionHandle.self)
}

@c @implementation
public func cabochon_session_free(_ session: OpaquePointer?) {
    HandleTable.shared.release(session, as: SessionHandle.self)
}

@c @implementation
public func cabochon_session_length(_ session: OpaquePointer?) -> Int {
    HandleTable.shared.object(session, as: SessionHandle.self)?.session.length ?? 0
}

@c @implementation
public func cabochon_session_context_length(_ session: OpaquePointer?) -> Int {
    HandleTable.shared.object(session, as: SessionHandle.self)?.session.contextLength ?? 0
}

@c @implementation
public func cabochon_session_tokens(
    _ session: OpaquePointer?, _ ids: UnsafeMutablePointer<Int32>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        try CabochonABI.session(session).look { session throws(CabochonError) in
            try write(session.sequence, ids, inout_len)
        }
    }
}

@c @implementation
public func cabochon_session_append(
    _ session: OpaquePointer?, _ ids: UnsafePointer<Int32>?, _ id_count: Int,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        try withSession(session) { session throws(CabochonError) in
            try session.append(try addition(ids, id_count, to: session))
        }
    }
}

/// Token ids that fit into what is left of the session, checked before the first is read.
func addition(
    _ ids: UnsafePointer<Int32>?, _ count: Int, to session: Session
) throws(CabochonError) -> UnsafeBufferPointer<Int32> {
    guard count <= session.contextLength - session.length else {
        throw CabochonError(
            .contextExceeded,
            "\(count) tokens after the \(session.length) of the session: its context holds \(session.contextLength)")
    }
    return try elements(ids, count, "ids")
}

@c @implementation
public func cabochon_session_logits(
    _ session: OpaquePointer?, _ logits: UnsafeMutablePointer<Float>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        try withSession(session) { session throws(CabochonError) in
            let needed = session.model.configuration.vocabularySize
            try write(needed: needed, logits, inout_len) { (room) throws(CabochonError) in
                try session.logits(into: room)
            }
        }
    }
}

@c @implementation
public func cabochon_session_truncate(
    _ session: OpaquePointer?, _ length: Int, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        try withSession(session) { session throws(CabochonError) in
            guard (0...session.length).contains(length) else {
                throw CabochonError(
                    .invalidArgument,
                    "truncating to \(UInt(bitPattern: length)) tokens: the session holds \(session.length)")
            }
            try session.truncate(to: length)
        }
    }
}

@c @implementation
public func cabochon_session_fork(
    _ session: OpaquePointer?, _ out_session: UnsafeMutablePointer<OpaquePointer?>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(giving: out_session, "out_session", error) { () throws(CabochonError) in
        let engine = try CabochonABI.session(session).engine
        return SessionHandle(
            try withSession(session) { session throws(CabochonError) in try session.fork() }, engine: engine)
    }
}

@c @implementation
public func cabochon_session_save(
    _ session: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        try withSession(session) { session throws(CabochonError) in
            try session.save(to: try CabochonABI.path(path, "path"))
        }
    }
}

@c @implementation
public func cabochon_session_restore(
    _ model: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ out_session: UnsafeMutablePointer<OpaquePointer?>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(giving: out_session, "out_session", error) { () throws(CabochonError) in
        let model = try ownModel(model)
        return SessionHandle(
            try Session.restore(from: try CabochonABI.path(path, "path"), model: model.model), engine: model.engine)
    }
}

@c @implementation
public func cabochon_session_cancel(_ session: OpaquePointer?) {
    HandleTable.shared.visit(session, as: SessionHandle.self) { $0.session.cancellation.cancel() }
}
