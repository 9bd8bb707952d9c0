// TextAPI.swift - the section "Text" of cabochon.h: tokenizer and chat template.

import CCabochon
import Cabochon

@c @implementation
public func cabochon_model_tokenize(
    _ model: OpaquePointer?, _ text: UnsafePointer<CChar>?, _ text_len: Int, _ flags: UInt32,
    _ ids: UnsafeMutablePointer<Int32>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let tokenizer = try CabochonABI.model(model).model.tokenizer
        try checkFlags(flags, known: CABOCHON_TOKENIZE_ADD_BOS | CABOCHON_TOKENIZE_PARSE_SPECIAL, "flags")
        // The tokenizer checks the UTF-8 itself, and names the offset of a bad byte.
        try tokenizer.withIDs(
            of: UnsafeRawBufferPointer(try elements(text, text_len, "text")),
            addBOS: flags & CABOCHON_TOKENIZE_ADD_BOS != 0,
            parseSpecial: flags & CABOCHON_TOKENIZE_PARSE_SPECIAL != 0
        ) { (tokens) throws(CabochonError) in try write(tokens, ids, inout_len) }
    }
}

@c @implementation
public func cabochon_model_detokenize(
    _ model: OpaquePointer?, _ ids: UnsafePointer<Int32>?, _ id_count: Int, _ buffer: UnsafeMutablePointer<CChar>?,
    _ inout_len: UnsafeMutablePointer<Int>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let tokenizer = try CabochonABI.model(model).model.tokenizer
        try tokenizer.withText(of: try elements(ids, id_count, "ids")) { (text) throws(CabochonError) in
            try write(text, buffer, inout_len)
        }
    }
}

@c @implementation
public func cabochon_model_token_piece(
    _ model: OpaquePointer?, _ id: Int32, _ buffer: UnsafeMutablePointer<CChar>?,
    _ inout_len: UnsafeMutablePointer<Int>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let vocabulary = try CabochonABI.model(model).model.tokenizer.vocabulary
        guard let piece = vocabulary.piece(of: id) else {
            throw CabochonError(.invalidArgument, "token \(id): the vocabulary has 0 to \(vocabulary.count - 1)")
        }
        try write(piece, buffer, inout_len)
    }
}

/// The messages of a conversation, where they stand, checked.
private func conversation(
    _ messages: UnsafePointer<cabochon_message>?, _ count: Int
) throws(CabochonError) -> LazyMapCollection<UnsafeBufferPointer<cabochon_message>, BorrowedChatMessage> {
    let messages = try elements(messages, count, "messages", atMost: 1 << 20)
    for (number, message) in messages.enumerated() {
        let name = try elements(message.role, message.role_len, "a message's role")
        guard role(name) != nil else {
            let text = try checkedText(message.role, message.role_len, "a message's role")
            // Its text only where there is room for it.
            let role = name.count > 64 ? "of \(name.count) bytes" : "\"\(String(decoding: text, as: UTF8.self))\""
            throw CabochonError(.invalidArgument, "message \(number): role \(role) is none of user, assistant, system")
        }
        _ = try checkedText(message.content, message.content_len, "a message's content")
    }
    return messages.lazy.map { message in
        let name = UnsafeBufferPointer(start: message.role, count: message.role_len)
        return BorrowedChatMessage(
            role: role(name) ?? .user,
            content: UnsafeRawBufferPointer(start: message.content, count: message.content_len))
    }
}

private func role(_ name: UnsafeBufferPointer<CChar>) -> ChatRole? {
    name.count > 64 ? nil : ChatRole(name: String(decoding: UnsafeRawBufferPointer(name), as: UTF8.self))
}

private func template(_ flags: UInt32, alsoKnown: UInt32 = 0) throws(CabochonError) -> ChatTemplate {
    try checkFlags(flags, known: CABOCHON_CHAT_ADD_GENERATION_PROMPT | CABOCHON_CHAT_STRICT | alsoKnown, "flags")
    return ChatTemplate(policy: flags & CABOCHON_CHAT_STRICT != 0 ? .strict : .merge)
}

@c @implementation
public func cabochon_model_apply_chat_template(
    _ model: OpaquePointer?, _ messages: UnsafePointer<cabochon_message>?, _ message_count: Int, _ flags: UInt32,
    _ buffer: UnsafeMutablePointer<CChar>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let vocabulary = try CabochonABI.model(model).model.tokenizer.vocabulary
        try template(flags).withText(
            of: try conversation(messages, message_count),
            addGenerationPrompt: flags & CABOCHON_CHAT_ADD_GENERATION_PROMPT != 0,
            bos: vocabulary.piece(of: vocabulary.special.bos) ?? ""
        ) { (text) throws(CabochonError) in try write(text, buffer, inout_len) }
    }
}

@c @implementation
public func cabochon_model_render_chat(
    _ model: OpaquePointer?, _ messages: UnsafePointer<cabochon_message>?, _ message_count: Int, _ flags: UInt32,
    _ ids: UnsafeMutablePointer<Int32>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let tokenizer = try CabochonABI.model(model).model.tokenizer
        try template(flags).withIDs(
            of: try conversation(messages, message_count),
            addGenerationPrompt: flags & CABOCHON_CHAT_ADD_GENERATION_PROMPT != 0, with: tokenizer
        ) { (tokens) throws(CabochonError) in try write(tokens, ids, inout_len) }
    }
}

@c @implementation
public func cabochon_model_render_turn(
    _ model: OpaquePointer?, _ messages: UnsafePointer<cabochon_message>?, _ message_count: Int, _ flags: UInt32,
    _ ids: UnsafeMutablePointer<Int32>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let tokenizer = try CabochonABI.model(model).model.tokenizer
        try template(flags, alsoKnown: CABOCHON_CHAT_TURN_IS_CLOSED).withContinuationIDs(
            of: try conversation(messages, message_count), turnIsClosed: flags & CABOCHON_CHAT_TURN_IS_CLOSED != 0,
            with: tokenizer
        ) { (tokens) throws(CabochonError) in try write(tokens, ids, inout_len) }
    }
}
