-- An operator can pause one partition, and quiet one worker. `lanes.paused` stays what claims look
-- at: the queue is paused, or the lane is held by itself.
alter table engine.lanes
  add column held boolean not null default false;    -- paused by itself, whatever its queue is
alter table engine.workers
  add column quiet boolean not null default false;   -- it finishes what it has and claims no more
