# Reference values for covariances with few clusters, from first principles on top of coxph.
#   Rscript tests/reference/make_vcov.R     (Debian packages r-base-core, r-cran-survival, r-cran-sandwich)
# Reads data/*.csv; writes vcov_values.csv (values), vcov_models.csv (the models) and vcov_weights.csv
# (weights of clusters and signs that the resampling values belong to).
suppressMessages({library(survival); library(sandwich)})
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
control <- coxph.control(eps = 1e-14, toler.chol = 1e-13, iter.max = 100)
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))
add_matrix <- function(model, quantity, m, terms)
  for (a in seq_along(terms)) for (b in seq_along(terms)) add(model, quantity, terms[a], terms[b], m[a, b])
add_vector <- function(model, quantity, v, terms) for (a in seq_along(terms)) add(model, quantity, terms[a], "", v[a])

models <- read.csv(text = '
model;data;formula;ties;cluster;weights;offset;id
cgd_breslow;cgd;Surv(tstart, tstop, status) ~ treat + age + inherit;breslow;center;;;id
cgd_efron;cgd;Surv(tstart, tstop, status) ~ treat + age + steroids + inherit;efron;center;;;id
lung_efron;lung;Surv(time, event) ~ age + sex + ph_ecog;efron;inst;case;shift;
lung_breslow;lung;Surv(time, event) ~ age + sex + ph_ecog;breslow;inst;case;;
rats_strata;rats;Surv(time, status) ~ rx + strata(female);efron;litter;;;
bladder_strata;bladder2;Surv(start, stop, event) ~ rx + size + number + strata(enum);breslow;id;;;
veteran_wide;veteran;Surv(time, status) ~ karno + age + trt;breslow;cell;;;
', sep = ";", colClasses = "character")
write.csv(models, file.path(folder, "vcov_models.csv"), row.names = FALSE)

read_model <- function(spec) {
  d <- read.csv(file.path(folder, "data", paste0(spec$data, ".csv")))
  d$.w <- if (spec$weights == "") 1 else d[[spec$weights]]
  d$.o <- if (spec$offset == "") 0 else d[[spec$offset]]
  d$.g <- d[[spec$cluster]]
  d
}
fit_model <- function(spec, d, weights = d$.w, ...) {
  d$.w <- weights
  keep <- d$.w > 0
  kept <- d[keep, ]
  do.call(coxph, list(as.formula(paste(spec$formula, "+ offset(.o)")), data = kept, weights = kept$.w,
                      ties = spec$ties, control = control, robust = FALSE, ...))
}
scores_at <- function(spec, d, beta) {
  fit <- coxph(as.formula(paste(spec$formula, "+ offset(.o)")), data = d, weights = d$.w, ties = spec$ties,
               init = beta, robust = FALSE, control = coxph.control(iter.max = 0))
  rowsum(as.matrix(residuals(fit, "score", weighted = TRUE)), d$.g, reorder = TRUE)
}

# -dU_g/db by definition: every event time, every step of its ties, every row at risk. With
# fixed = TRUE the baseline hazard is held fixed, and (x - xbar) x' takes the place of the square.
cluster_information <- function(spec, d, beta, fixed) {
  y <- eval(parse(text = sub("~.*", "", spec$formula)), d)
  start <- if (ncol(y) == 3) y[, 1] else rep(-Inf, nrow(d))
  stop <- y[, ncol(y) - 1]; event <- y[, ncol(y)] == 1
  x <- as.matrix(d[, names(beta)])
  stratum <- if (grepl("strata", spec$formula)) d[[sub(".*strata\\((.*)\\).*", "\\1", spec$formula)]] else rep(1, nrow(d))
  risk <- d$.w * exp(drop(x %*% beta) + d$.o)
  groups <- sort(unique(d$.g)); p <- ncol(x)
  total <- array(0, c(length(groups), p, p), list(groups, names(beta), names(beta)))
  for (s in unique(stratum)) for (t in sort(unique(stop[event & stratum == s]))) {
    rows <- which(stratum == s & start < t & stop >= t)
    dead <- which(stratum == s & stop == t & event)
    n_step <- if (spec$ties == "efron") length(dead) else 1
    for (l in seq_len(n_step) - 1) {
      share <- if (n_step > 1) ifelse(rows %in% dead, 1 - l / n_step, 1) else rep(1, length(rows))
      a <- risk[rows] * share
      mean <- colSums(a * x[rows, , drop = FALSE]) / sum(a)
      centred <- sweep(x[rows, , drop = FALSE], 2, mean)
      variance <- crossprod(centred * a, centred) / sum(a)
      hazard <- sum(d$.w[dead]) / n_step / sum(a)
      for (i in dead) {
        g <- match(d$.g[i], groups)
        total[g, , ] <- total[g, , ] + d$.w[i] / n_step * variance
      }
      for (k in seq_along(rows)) {
        g <- match(d$.g[rows[k]], groups)
        second <- if (fixed) x[rows[k], ] else centred[k, ]
        total[g, , ] <- total[g, , ] + a[k] * hazard * (outer(centred[k, ], second) - variance)
      }
    }
  }
  total
}
numerical_information <- function(spec, d, beta, h = 1e-3) {
  p <- length(beta); base <- scores_at(spec, d, beta)
  total <- array(0, c(nrow(base), p, p))
  for (j in seq_len(p)) {
    unit <- replace(numeric(p), j, h / sd(d[[names(beta)[j]]]))
    slope <- function(k) (scores_at(spec, d, beta + k * unit) - scores_at(spec, d, beta - k * unit)) / (2 * k * max(unit))
    total[, , j] <- -(4 * slope(1) - slope(2)) / 3
  }
  total
}

root_inverse <- function(m) {
  e <- eigen(m)
  Re(e$vectors %*% diag(1 / sqrt(e$values), length(e$values)) %*% solve(e$vectors))
}
corrected <- function(u, omega, v, method, n) {
  p <- ncol(u); count <- nrow(u)
  share <- function(g) omega[g, , ] %*% v
  meat <- matrix(0, p, p)
  for (g in seq_len(count)) {
    ug <- matrix(u[g, ], p, 1)
    meat <- meat + switch(method,
      lin_wei = tcrossprod(ug), stata = tcrossprod(ug) * count / (count - 1), morel = tcrossprod(ug),
      fay_graubard = tcrossprod((1 - pmin(0.75, diag(share(g))))^-0.5 * ug),
      kauermann_carroll = tcrossprod(root_inverse(diag(p) - share(g)) %*% ug),
      kauermann_carroll_wang = { m <- solve(diag(p) - share(g), ug) %*% t(ug); (m + t(m)) / 2 },
      mancl_derouen = tcrossprod(solve(diag(p) - share(g), ug)))
  }
  s <- v %*% meat %*% v
  if (method != "morel") return(s)
  c0 <- (n - 1) / (n - p) * count / (count - 1)
  c0 * s + min(0.5, p / (count - p)) * max(1, sum(diag(v %*% meat)) * c0 / p) * v
}
# Fay and Graubard (2001), appendix A, with the p K x p K matrices written out.
degrees <- function(u, omega, v, j, bias_corrected, tilde) {
  p <- ncol(u); count <- nrow(u); at <- function(g) (g - 1) * p + seq_len(p)
  h <- t(sapply(seq_len(count), function(g)
    if (bias_corrected) (1 - pmin(0.75, diag(as.matrix(omega[g, , ] %*% v))))^-0.5 else rep(1, p)))
  if (p == 1) h <- t(h)
  contrast <- replace(numeric(p), j, 1)
  big_g <- diag(p * count); m <- psi <- matrix(0, p * count, p * count)
  hat <- lapply(seq_len(count), function(g) tcrossprod(h[g, ] * u[g, ]))
  w <- sapply(seq_len(count), function(g) {
    gain <- solve(solve(v) - omega[g, , ]) - v
    drop(contrast %*% gain %*% contrast)
  })
  for (g in seq_len(count)) {
    for (k in seq_len(count)) big_g[at(g), at(k)] <- big_g[at(g), at(k)] - omega[g, , ] %*% v
    middle <- diag(h[g, ], p) %*% v %*% contrast
    m[at(g), at(g)] <- tcrossprod(middle)
    psi[at(g), at(g)] <- if (tilde) w[g] / sum(w) * Reduce(`+`, hat) else hat[[g]]
  }
  product <- psi %*% t(big_g) %*% m %*% big_g
  max(1, sum(diag(product))^2 / sum(diag(product %*% product)))
}

methods <- c("lin_wei", "stata", "fay_graubard", "kauermann_carroll", "kauermann_carroll_wang", "mancl_derouen", "morel")
for (i in seq_len(nrow(models))) {
  spec <- models[i, ]; d <- read_model(spec); fit <- fit_model(spec, d)
  terms <- names(coef(fit)); v <- fit$var; dimnames(v) <- list(terms, terms)
  u <- scores_at(spec, d, coef(fit)); groups <- rownames(u)
  n <- if (spec$id == "") nrow(d) else length(unique(d[[spec$id]]))
  add_vector(spec$model, "coef", coef(fit), terms)
  for (g in groups) add_vector(spec$model, paste0("score:", g), u[g, ], terms)
  for (leverage in c("derivative", "wang")) {
    omega <- cluster_information(spec, d, coef(fit), leverage == "wang")
    if (leverage == "derivative") {
      numeric <- numerical_information(spec, d, coef(fit))
      stopifnot(max(abs(numeric - omega)) < 1e-7 * max(abs(omega)))
    }
    stopifnot(max(abs(apply(omega, 2:3, sum) - solve(v))) < 1e-8 * max(abs(solve(v))))
    if (length(groups) <= 20) for (g in groups)
      add_matrix(spec$model, paste("omega", leverage, g, sep = ":"), as.matrix(omega[g, , ]), terms)
    for (method in methods) {
      if (method == "kauermann_carroll" && leverage == "wang") next
      if (method == "morel" && length(groups) <= length(terms)) next
      add_matrix(spec$model, paste("vcov", leverage, method, sep = ":"), corrected(u, omega, v, method, n), terms)
    }
    if (length(groups) <= 50) for (j in seq_along(terms)) for (bias in c(FALSE, TRUE)) for (tilde in c(FALSE, TRUE))
      add(spec$model, paste("df", leverage, if (bias) "fay_graubard" else "lin_wei",
                            if (tilde) "fay_graubard" else "fay_graubard_hat", sep = ":"),
          terms[j], "", degrees(u, omega, v, j, bias, tilde))
  }
}

# Several ways of clustering; sandwich::vcovCL is the judge of the sums written out here.
multiway <- function(spec, d, ways, correction, name) {
  fit <- fit_model(spec, d); terms <- names(coef(fit))
  rows <- as.matrix(residuals(fit, "score", weighted = TRUE)) %*% fit$var
  smallest <- min(sapply(ways, function(w) length(unique(w))))
  total <- 0
  for (size in seq_along(ways)) for (chosen in combn(length(ways), size, simplify = FALSE)) {
    both <- interaction(ways[chosen], drop = TRUE); count <- nlevels(both)
    factor <- switch(correction, none = 1, stata = count / (count - 1), min = smallest / (smallest - 1))
    total <- total + (-1)^(size + 1) * factor * crossprod(rowsum(rows, both))
  }
  if (correction != "min" && spec$weights == "") {
    judge <- vcovCL(fit, cluster = as.data.frame(ways), type = "HC0", cadjust = correction == "stata")
    stopifnot(max(abs(judge - total)) < 1e-9 * max(abs(total)))
  }
  add_matrix(spec$model, paste("multiway", name, correction, sep = ":"), total, terms)
  e <- eigen(total, symmetric = TRUE)
  add(spec$model, paste("eigen", name, correction, sep = ":"), "smallest", "", min(e$values))
  fixed <- e$vectors %*% diag(pmax(e$values, 0)) %*% t(e$vectors)
  add_matrix(spec$model, paste("fixed", name, correction, sep = ":"), fixed, terms)
}
for (i in which(models$model %in% c("cgd_breslow", "cgd_efron", "lung_efron", "bladder_strata"))) {
  spec <- models[i, ]; d <- read_model(spec); row <- seq_len(nrow(d)) - 1
  for (correction in c("none", "stata", "min")) {
    multiway(spec, d, list(a = d$.g, b = row %% 7), correction, "two")
    multiway(spec, d, list(a = d$.g, b = row %% 7, c = row %/% 20), correction, "three")
    multiway(spec, d, list(a = row %% 2, b = row %/% 60), correction, "few")
  }
}

# Every subject its own cluster.
for (i in which(models$model %in% c("cgd_efron", "veteran_wide", "lung_breslow"))) {
  spec <- models[i, ]; d <- read_model(spec); fit <- fit_model(spec, d)
  id <- if (spec$id == "") seq_len(nrow(d)) else d[[spec$id]]
  rows <- rowsum(as.matrix(residuals(fit, "score", weighted = TRUE)) %*% fit$var, id)
  add_matrix(spec$model, "robust:none", crossprod(rows), names(coef(fit)))
  add_matrix(spec$model, "robust:stata", crossprod(rows) * nrow(rows) / (nrow(rows) - 1), names(coef(fit)))
}

# Leave one cluster out: refits without its rows.
for (i in which(models$model %in% c("cgd_breslow", "lung_efron", "lung_breslow", "rats_strata", "bladder_strata"))) {
  spec <- models[i, ]; d <- read_model(spec); fit <- fit_model(spec, d); terms <- names(coef(fit))
  groups <- sort(unique(d$.g))
  left <- t(sapply(groups, function(g) coef(fit_model(spec, d[d$.g != g, ]))))
  if (length(terms) == 1) left <- t(left)
  for (k in seq_along(groups)) add_vector(spec$model, paste0("leave:", groups[k]), left[k, ], terms)
  count <- length(groups)
  for (center in c("estimate", "mean")) {
    from <- if (center == "estimate") coef(fit) else colMeans(left)
    add_matrix(spec$model, paste0("jackknife:", center), (count - 1) / count * crossprod(sweep(left, 2, from)), terms)
  }
}

# Refits under stored weights of clusters, and the score bootstrap under stored signs.
set.seed(20240607)
weights <- list()
keep_weights <- function(model, replicate, cluster, weight)
  weights[[length(weights) + 1]] <<- data.frame(model, replicate, cluster, weight = sprintf("%.17g", weight))
for (i in which(models$model %in% c("cgd_breslow", "lung_efron", "lung_breslow", "rats_strata", "bladder_strata"))) {
  spec <- models[i, ]; d <- read_model(spec); groups <- sort(unique(d$.g)); count <- length(groups)
  for (b in 1:8) {
    w <- if (b <= 5) drop(rmultinom(1, count, rep(1, count))) else round(rexp(count), 3)
    fit <- fit_model(spec, d, d$.w * w[match(d$.g, groups)])
    stopifnot(max(abs(coef(fit))) < 10)
    keep_weights(spec$model, b, groups, w)
    add_vector(spec$model, paste0("bootstrap:", b), coef(fit), names(coef(fit)))
  }
}
statistic <- function(q, signs, share) {
  total <- sum(signs * q)
  total / sqrt(sum((signs * q - share * total)^2))
}
for (i in which(models$model %in% c("cgd_breslow", "lung_efron", "bladder_strata", "veteran_wide"))) {
  spec <- models[i, ]; d <- read_model(spec); fit <- fit_model(spec, d); terms <- names(coef(fit))
  groups <- sort(unique(d$.g)); count <- length(groups)
  share <- list(clusters = rep(1 / count, count), rows = as.vector(table(d$.g)) / nrow(d), none = rep(0, count))
  for (j in seq_along(terms)) for (null in c(0, 0.2)) {
    under <- spec; under$formula <- sub(paste0("\\b", terms[j], "\\b"), "offset(.fixed)", spec$formula)
    d$.fixed <- null * d[[terms[j]]]
    beta <- coef(fit); beta[terms[-j]] <- coef(fit_model(under, d))[terms[-j]]; beta[j] <- null
    whole <- coxph(as.formula(paste(spec$formula, "+ offset(.o)")), data = d, weights = d$.w, ties = spec$ties,
                   init = beta, robust = FALSE, control = coxph.control(iter.max = 0))
    q <- drop(scores_at(spec, d, beta) %*% whole$var[, j])
    for (how in names(share)) {
      observed <- statistic(q, 1, share[[how]])
      add(spec$model, paste("score_t", how, null, sep = ":"), terms[j], "", observed)
      if (count <= 13) {
        signs <- as.matrix(expand.grid(rep(list(c(1, -1)), count)))
        all <- apply(signs, 1, function(s) statistic(q, s, share[[how]]))
        add(spec$model, paste("score_p", how, null, sep = ":"), terms[j], "",
            mean(abs(all) >= abs(observed) * (1 - 1e-10)))
      }
    }
  }
}
write.csv(do.call(rbind, out), file.path(folder, "vcov_values.csv"), row.names = FALSE, quote = FALSE)
write.csv(do.call(rbind, weights), file.path(folder, "vcov_weights.csv"), row.names = FALSE, quote = FALSE)
