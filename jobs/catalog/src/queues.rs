//! The queues, in the order of a lead's way.

use switchyard_queue::QueueName;

/// Webhook events that wait to be judged; a partition a portal.
pub const WEBHOOKS: QueueName = QueueName("webhooks");
/// Leads that wait for an agency.
pub const LEADS: QueueName = QueueName("leads");
/// Messages that wait to be sent; a partition an agency.
pub const NOTIFICATIONS: QueueName = QueueName("notifications");
/// Webhooks that wait to be sent; a partition an endpoint.
pub const OUTBOUND: QueueName = QueueName("outbound");
/// Commissions on their way into the books and out of them; a partition an agency.
pub const COMMISSIONS: QueueName = QueueName("commissions");
/// Backups, drills and restores; a run of one sort at a time.
pub const BACKUPS: QueueName = QueueName("backups");
/// Periodic work that nobody waits for.
pub const MAINTENANCE: QueueName = QueueName("maintenance");

/// Every queue.
pub const ALL: [QueueName; 7] =
    [WEBHOOKS, LEADS, NOTIFICATIONS, OUTBOUND, COMMISSIONS, BACKUPS, MAINTENANCE];
