// AddedToken.swift - a token that was added to a tokenizer when its pieces stood: an entry of tokenizer.json's
// added_tokens, or of the added_tokens_decoder in tokenizer_config.json.

struct AddedToken: Sendable {
    let id: Int32
    let content: String
    /// Never made from text unless the caller asks for it.
    let isSpecial: Bool
    /// A setting by which text around the token would be taken otherwise than Gemma's; nil: none.
    let otherRule: String?

    init?(_ value: JSONValue, id: Int32) {
        guard let content = value["content"]?.string else { return nil }
        self.id = id
        self.content = content
        isSpecial = value["special"]?.bool ?? false
        otherRule = ["single_word", "lstrip", "rstrip"].first { value[$0]?.bool == true }
    }

    /// Reads an array of them, each with its id.
    static func read(_ reader: inout JSONReader) throws(CabochonError) -> [AddedToken] {
        var tokens: [AddedToken] = []
        try reader.readArray { (reader) throws(CabochonError) in
            let start = reader.offset
            let value = try reader.readValue()
            guard let number = value["id"]?.int, let id = Int32(exactly: number), id >= 0,
                let token = AddedToken(value, id: id)
            else { throw reader.error("an added token without an id or content", at: start) }
            tokens.append(token)
        }
        return tokens
    }
}
