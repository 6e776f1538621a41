use http::Method;

/// Whether `method` only reads.
///
/// Methods that this list does not know are not safe. Names are case-sensitive: `get` is unknown.
///
/// # Source
/// RFC 9110 §9.2.1 and the IANA method registry (`PROPFIND`, `REPORT`, `SEARCH`, `QUERY`).
pub fn is_safe(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY" | "PRI")
}

/// Whether doing `method` twice has the effect of doing it once.
///
/// ```
/// use http::Method;
///
/// assert!(seawall_http::is_idempotent(&Method::PUT));
/// assert!(!seawall_http::is_idempotent(&Method::POST));
/// ```
///
/// # Source
/// RFC 9110 §9.2.2 and the IANA method registry (`WebDAV`'s `MKCOL`, `COPY`, `MOVE` and others; not `LOCK`, `PATCH`).
pub fn is_idempotent(method: &Method) -> bool {
    is_safe(method)
        || matches!(
            method.as_str(),
            "PUT"
                | "DELETE"
                | "ACL"
                | "BASELINE-CONTROL"
                | "BIND"
                | "CHECKIN"
                | "CHECKOUT"
                | "COPY"
                | "LABEL"
                | "LINK"
                | "MERGE"
                | "MKACTIVITY"
                | "MKCALENDAR"
                | "MKCOL"
                | "MKREDIRECTREF"
                | "MKWORKSPACE"
                | "MOVE"
                | "ORDERPATCH"
                | "PROPPATCH"
                | "REBIND"
                | "UNBIND"
                | "UNCHECKOUT"
                | "UNLINK"
                | "UNLOCK"
                | "UPDATE"
                | "UPDATEREDIRECTREF"
                | "VERSION-CONTROL"
        )
}
