# Makes the reference values of competing exits: cumulative incidence, Gray's test, Cox models by cause, Fine-Gray.
#   Rscript tests/reference/make_competing.R
#   (Debian packages r-base-core, r-cran-survival, r-cran-cmprsk; last run with survival 3.5-3, cmprsk 2.2-11)
# Writes competing_sim.csv, competing_mgus2.csv, competing_rows.csv (data) and competing_values.csv.
suppressMessages({
  library(survival)
  library(cmprsk)
})
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
exact <- coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 100)
save_data <- function(d, name) {
  file <- file.path(folder, paste0("competing_", name, ".csv"))
  write.csv(format(d, digits = 17, trim = TRUE), file, row.names = FALSE, quote = FALSE)
  read.csv(file)
}
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term = as.character(term), other = as.character(other),
                                        value = sprintf("%.17g", value))

# Data ---------------------------------------------------------------------------------------------------
set.seed(2)
n <- 150
sim <- data.frame(id = seq_len(n), time = rexp(n), cause = sample(0:2, n, TRUE), group = sample(c("a", "b", "c"), n, TRUE),
                  center = sample(1:2, n, TRUE), x1 = runif(n), x2 = rbinom(n, 1, 0.4))
sim$x3 <- sim$x1 * sim$x2 + sin(seq_len(n))
sim$tied <- ceiling(sim$time * 8)
sim$event <- as.integer(sim$cause > 0)
sim$weight <- 1 + sim$id %% 3
sim <- save_data(sim, "sim")

m <- mgus2[!is.na(mgus2$hgb), ]
m <- data.frame(id = m$id, time = ifelse(m$pstat == 1, m$ptime, m$futime), cause = ifelse(m$pstat == 1, 1, 2 * m$death),
                age = m$age, female = as.integer(m$sex == "F"), hgb = m$hgb)
m <- m[m$time > 0, ]
m$event <- as.integer(m$cause > 0)
m$exit <- c("", "pcm", "death")[m$cause + 1]
m$entry <- ifelse(m$time > 12, m$id %% 12, 0)
m <- save_data(m, "mgus2")
# The same in rows: age counted on, one row to month 60 and one from there.
cut <- m$time > 60
rows <- rbind(transform(m[cut, ], start = 0, stop = 60, cause = 0, event = 0, now = age),
              transform(m, start = ifelse(cut, 60, 0), stop = time, now = age + ifelse(cut, 5, 0)))
rows <- save_data(rows[order(rows$id, rows$start), c("id", "start", "stop", "event", "cause", "age", "now", "female", "hgb")],
                  "rows")

# Cumulative incidence -----------------------------------------------------------------------------------
curves <- function(model, fit, times, group = "all") {
  s <- summary(fit, times = times)
  strata <- if (is.null(s$strata)) rep(group, length(s$time)) else sub(".*=", "", as.character(s$strata))
  for (k in seq_along(s$time)) for (c in seq_along(fit$states)) {
    cause <- if (c == 1) "free" else fit$states[c]
    other <- paste(cause, format(s$time[k], digits = 15), sep = "@")
    add(model, "estimate", trimws(strata[k]), other, s$pstate[k, c])
    add(model, "std_error", trimws(strata[k]), other, s$std.err[k, c])
    if (c > 1) {
      add(model, "conf_low", trimws(strata[k]), other, s$lower[k, c])
      add(model, "conf_high", trimws(strata[k]), other, s$upper[k, c])
    }
  }
}
sim$f <- factor(sim$cause)
m$f <- factor(m$cause)
rows$f <- factor(rows$cause)
few <- c(0.1, 0.5, 1, 2)
curves("aj_sim", survfit(Surv(time, f) ~ group, sim, id = id), few)
curves("aj_tied", survfit(Surv(tied, f) ~ group, sim, id = id, conf.type = "log-log"), c(1, 3, 8, 15))
curves("aj_weights", survfit(Surv(tied, f) ~ 1, sim, id = id, weights = weight, conf.type = "plain"), c(1, 3, 8, 15, 30))
long <- c(2, 10, 50, 100, 200, 300)
curves("aj_mgus2", survfit(Surv(time, f) ~ female, m, id = id), long)
curves("aj_entry", survfit(Surv(entry, time, f) ~ female, m, id = id), long)
curves("aj_rows", survfit(Surv(start, stop, f) ~ female, rows, id = id), long)

gray <- function(model, time, cause, group, strata, rho, times) {
  z <- cuminc(time, cause, group, strata, rho = rho)
  for (c in rownames(z$Tests)) {
    add(model, "statistic", c, "", z$Tests[c, "stat"])
    add(model, "p_value", c, "", z$Tests[c, "pv"])
  }
  t <- timepoints(z, times)
  for (i in rownames(t$est)) for (k in seq_along(times)) if (!is.na(t$est[i, k])) {
    part <- strsplit(i, " ")[[1]]
    other <- paste(part[2], format(times[k], digits = 15), sep = "@")
    add(model, "estimate", part[1], other, t$est[i, k])
    add(model, "std_error", part[1], other, sqrt(t$var[i, k]))
  }
}
one <- rep(1, n)
gray("gray_sim", sim$time, sim$cause, sim$group, one, 0, few)
gray("gray_tied", sim$tied, sim$cause, sim$group, one, 0, c(1, 3, 8, 15))
gray("gray_strata", sim$tied, sim$cause, sim$group, sim$center, 0, 3)
gray("gray_rho", sim$tied, sim$cause, sim$group, sim$center, 1, 3)
gray("gray_mgus2", m$time, m$cause, m$female, rep(1, nrow(m)), 0, long)

# One group ends when the other goes on.
gray("gray_small", c(1, 1, 2, 3, 4), c(1, 1, 1, 1, 2), c(0, 0, 1, 1, 1), rep(1, 5), 0, 1)

# Cox models by cause ------------------------------------------------------------------------------------
by_cause <- function(model, response, terms, d, ties, robust) {
  stacked <- do.call(rbind, lapply(1:2, function(c) transform(d, which = c, own = as.integer(cause == c))))
  for (c in 1:2) {
    f <- as.formula(paste(sub("event", "own", response), "~", paste(terms, collapse = " + ")))
    fit <- if (robust) coxph(f, stacked[stacked$which == c, ], ties = ties, control = exact, cluster = id)
           else coxph(f, stacked[stacked$which == c, ], ties = ties, control = exact)
    for (a in terms) {
      add(model, "coef", a, c, coef(fit)[a])
      add(model, "std_error", a, c, sqrt(fit$var[match(a, terms), match(a, terms)]))
    }
    add(model, "loglik", "", c, fit$loglik[2])
  }
  wide <- c(terms, paste0(terms, "_2"))
  for (a in terms) stacked[[paste0(a, "_2")]] <- stacked[[a]] * (stacked$which == 2)
  right <- function(v) as.formula(paste(sub("event", "own", response), "~", paste(v, collapse = " + "), "+ strata(which)"))
  big <- if (robust) coxph(right(wide), stacked, ties = ties, control = exact, cluster = id)
         else coxph(right(wide), stacked, ties = ties, control = exact)
  small <- coxph(right(terms), stacked, ties = ties, control = exact)
  extra <- length(terms) + seq_along(terms)
  add(model, "wald", "", "", sum(coef(big)[extra] * solve(big$var[extra, extra], coef(big)[extra])))
  for (a in seq_along(terms)) add(model, "wald", terms[a], "", coef(big)[extra[a]]^2 / big$var[extra[a], extra[a]])
  if (!robust) {
    add(model, "lr", "", "", 2 * (big$loglik[2] - small$loglik[2]))
    first <- coxph(right(c(terms, paste0(terms[-1], "_2"))), stacked, ties = ties, control = exact)
    add(model, "lr", terms[1], "", 2 * (big$loglik[2] - first$loglik[2]))
  }
}
by_cause("cause_sim", "Surv(time, event)", c("x1", "x2", "x3"), sim, "efron", FALSE)
by_cause("cause_mgus2", "Surv(entry, time, event)", c("age", "female", "hgb"), m, "breslow", FALSE)
by_cause("cause_rows", "Surv(start, stop, event)", c("now", "female", "hgb"), rows, "efron", TRUE)

new <- data.frame(age = c(60, 80), female = c(1, 0), hgb = c(14, 11))
fit <- coxph(Surv(time, f) ~ age + female + hgb, m, id = id, ties = "breslow", control = exact)
for (type in c("exponential", "limit")) {
  # Without stype = 1 the hazards of a time are put together by a matrix exponential.
  s <- survfit(fit, newdata = new, stype = if (type == "limit") 1 else 2, ctype = 1)
  for (t in long) for (j in 1:2) for (c in 1:3)
    add(paste("predict_breslow", type, sep = "_"), c("free", "1", "2")[c], j, t, s$pstate[max(which(s$time <= t)), j, c])
}
# A multi-state coxph has no Efron ties, so its two models are fitted one by one and combined here.
hazard <- lapply(1:2, function(c) {
  fit <- coxph(Surv(time, cause == c) ~ age + female + hgb, m, ties = "efron", control = exact)
  survfit(fit, newdata = new, ctype = 2)
})
for (type in c("exponential", "limit")) for (j in 1:2) {
  h <- sapply(hazard, function(s) diff(c(0, s$cumhaz[, j])))
  fall <- if (type == "limit") rowSums(h) else 1 - exp(-rowSums(h))
  free <- cumprod(1 - fall)
  incidence <- apply(c(1, free[-length(free)]) * fall * h / pmax(rowSums(h), 1e-300), 2, cumsum)
  for (t in long) {
    k <- max(which(hazard[[1]]$time <= t))
    for (c in 1:3)
      add(paste("predict_efron", type, sep = "_"), c("free", "1", "2")[c], j, t, c(free[k], incidence[k, ])[c])
  }
}

# Fine-Gray ----------------------------------------------------------------------------------------------
keep <- function(model, terms, coef, var, loglik, null) {
  for (a in seq_along(terms)) {
    add(model, "coef", terms[a], "", coef[a])
    for (b in seq_along(terms)) add(model, "vcov", terms[a], terms[b], var[a, b])
  }
  add(model, "loglik", "", "", loglik)
  add(model, "loglik_null", "", "", null)
}
gray_model <- function(model, time, cause, x, code, ...) {
  z <- crr(time, cause, x, failcode = code, gtol = 1e-11, maxiter = 50, ...)
  stopifnot(z$converged)
  keep(model, colnames(x), z$coef, z$var, z$loglik, z$loglik.null)
  z
}
x <- as.matrix(sim[, c("x1", "x2", "x3")])
for (code in 1:2) {
  gray_model(paste0("crr_sim_", code), sim$time, sim$cause, x, code)
  gray_model(paste0("crr_tied_", code), sim$tied, sim$cause, x, code)
  gray_model(paste0("crr_group_", code), sim$tied, sim$cause, x, code, cengroup = sim$center)
}
x <- as.matrix(m[, c("age", "female", "hgb")])
for (code in 1:2) {
  z <- gray_model(paste0("crr_mgus2_", code), m$time, m$cause, x, code)
  p <- predict(z, as.matrix(new))
  for (t in long) for (j in 1:2) add(paste0("crr_mgus2_", code), "incidence", j, t, p[max(which(p[, 1] <= t)), j + 1])
}

weighted <- function(model, response, right, terms, d, code, ties, strata = NULL, new = NULL) {
  left <- as.formula(paste(response, "~ .", if (!is.null(strata)) paste0("+ strata(", strata, ")")))
  g <- finegray(left, d, etype = as.character(code), id = id)
  stopifnot(!anyNA(g$fgwt))
  if (!is.null(strata)) g[[strata]] <- d[[strata]][match(g$id, d$id)]
  f <- as.formula(paste("Surv(fgstart, fgstop, fgstatus) ~", right))
  fit <- coxph(f, g, weights = fgwt, cluster = id, ties = ties, control = exact)
  keep(model, terms, coef(fit), fit$var, fit$loglik[2], fit$loglik[1])
  for (a in seq_along(terms)) for (b in seq_along(terms)) add(model, "vcov_model", terms[a], terms[b], fit$naive.var[a, b])
  if (!is.null(new)) {
    s <- survfit(fit, newdata = new)
    for (t in long) for (j in 1:2) add(model, "incidence", j, t, 1 - s$surv[max(which(s$time <= t)), j])
  }
}
three <- c("x1", "x2", "x3")
m3 <- c("age", "female", "hgb")
for (ties in c("breslow", "efron")) {
  weighted(paste0("fg_sim_", ties), "Surv(time, f)", "x1 + x2 + x3", three, sim[c("id", "time", "f", three)], 1, ties)
  weighted(paste0("fg_tied_", ties), "Surv(tied, f)", "x1 + x2 + x3", three, sim[c("id", "tied", "f", three)], 2, ties)
  # finegray cuts a stratum's tails where the stratum's own follow-up ends: right only if the Cox model is stratified too.
  weighted(paste0("fg_strata_", ties), "Surv(tied, f)", "x1 + x2 + x3 + strata(center)", three,
           sim[c("id", "tied", "f", "center", three)], 1, ties, strata = "center")
  weighted(paste0("fg_mgus2_", ties), "Surv(time, f)", "age + female + hgb", m3, m[c("id", "time", "f", m3)], 1, ties, new = new)
  weighted(paste0("fg_entry_", ties), "Surv(entry, time, f)", "age + female + hgb", m3, m[c("id", "entry", "time", "f", m3)], 1, ties)
  weighted(paste0("fg_rows_", ties), "Surv(start, stop, f)", "now + female + hgb", c("now", "female", "hgb"),
           rows[c("id", "start", "stop", "f", "now", "female", "hgb")], 1, ties)
}
write.csv(do.call(rbind, out), file.path(folder, "competing_values.csv"), row.names = FALSE, quote = FALSE)
